import java.net.HttpURLConnection;
import java.net.URI;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

/** Reads a secret, a parameter and a configuration as the extensions' documentation says. Answers texts, which are JSON. */
public final class app {
  private static String read(int port, String path, String token) throws Exception {
    HttpURLConnection asking = (HttpURLConnection) URI.create("http://localhost:" + port + path).toURL().openConnection();
    if (token != null) {
      asking.setRequestProperty("X-Aws-Parameters-Secrets-Token", token);
    }
    if (asking.getResponseCode() != 200) {
      return String.valueOf(asking.getResponseCode());
    }
    return new String(asking.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
  }

  public List<String> secrets(Map<String, Object> event) throws Exception {
    String token = System.getenv().getOrDefault("AWS_SESSION_TOKEN", "");
    String name = URLEncoder.encode("/shop/limit", StandardCharsets.UTF_8);
    return Arrays.asList(
        read(2773, "/secretsmanager/get?secretId=database", token),
        read(2773, "/systemsmanager/parameters/get?name=" + name + "&withDecryption=true", token),
        read(2773, "/secretsmanager/get?secretId=database", null));
  }

  public String configuration(Map<String, Object> event) throws Exception {
    return read(2772, "/applications/shop/environments/live/configurations/flags", null);
  }
}
