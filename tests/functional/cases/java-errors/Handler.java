import java.net.HttpURLConnection;
import java.net.URI;
import java.util.Map;

/** Fails where the event says so; AWS's client tells that on a connection of its own. */
public final class Handler {
    public String handle(Map<String, Object> event) throws Exception {
        if (event.containsKey("fail")) {
            throw new IllegalStateException("failed");
        }
        return event.containsKey("steal") ? steal() : "done";
    }

    /** What a forged request does: it asks for the next event. */
    private static String steal() {
        String next = "http://" + System.getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/next";
        try {
            HttpURLConnection connection = (HttpURLConnection) URI.create(next).toURL().openConnection();
            connection.setReadTimeout(2000);
            return "stolen " + connection.getResponseCode();
        } catch (Exception fault) {
            return "refused";
        }
    }
}
