package peer;

import com.sun.net.httpserver.HttpServer;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.Map;

/** A handler that the agent instruments: it calls a server of its own by a client that the agent wraps. */
public final class Handler {
  public Map<String, Object> handle(Map<String, Object> event) throws Exception {
    HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
    server.createContext("/", exchange -> {
      // The agent adds a header to each request.
      boolean traced = exchange.getRequestHeaders().containsKey("traceparent");
      byte[] body = String.valueOf(traced).getBytes();
      exchange.sendResponseHeaders(200, body.length);
      exchange.getResponseBody().write(body);
      exchange.close();
    });
    server.start();
    try {
      URI uri = URI.create("http://127.0.0.1:" + server.getAddress().getPort() + "/");
      HttpRequest request = HttpRequest.newBuilder(uri).build();
      return Map.of("traced", HttpClient.newHttpClient().send(request, BodyHandlers.ofString()).body());
    } finally {
      server.stop(0);
    }
  }
}
