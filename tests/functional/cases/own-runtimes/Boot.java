import java.net.HttpURLConnection;
import java.net.URI;

/** A runtime of its own: it answers while the connection by which the event came is still read from. */
public final class Boot {
    public static void main(String[] arguments) throws Exception {
        String base = "http://" + System.getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/";
        while (true) {
            HttpURLConnection event = open(base + "next");
            try (var body = event.getInputStream()) {
                int first = body.read();
                String request = event.getHeaderField("lambda-runtime-aws-request-id");
                HttpURLConnection answer = open(base + request + "/response");
                answer.setRequestMethod("POST");
                answer.setDoOutput(true);
                answer.getOutputStream().write(("{\"first\": " + first + "}").getBytes());
                answer.getInputStream().readAllBytes();
                body.readAllBytes();
            }
        }
    }

    private static HttpURLConnection open(String where) throws Exception {
        return (HttpURLConnection) URI.create(where).toURL().openConnection();
    }
}
