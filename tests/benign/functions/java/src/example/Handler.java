package example;

import com.sun.net.httpserver.HttpServer;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.ObjectInputStream;
import java.io.ObjectOutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.PriorityQueue;
import java.util.TreeMap;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.IntStream;

/** What Java functions do: a child process, a server and clients on loopback, files, pools, serialised objects, settings. */
public final class Handler {
  public Map<String, Object> handleRequest(Map<String, Object> event) throws Exception {
    Map<String, Object> answer = new TreeMap<>();
    answer.put("child", child(String.valueOf(event.get("text"))));
    answer.put("http", http());
    answer.put("file", file());
    answer.put("pool", pool());
    answer.put("restored", restored());
    answer.put("settings", System.getenv().get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"));
    answer.put("parallel", IntStream.range(0, 1000).parallel().sum());
    return answer;
  }

  private static String child(String text) throws Exception {
    Process process = new ProcessBuilder("/usr/bin/tr", "a-z", "A-Z").start();
    process.getOutputStream().write(text.getBytes(StandardCharsets.UTF_8));
    process.getOutputStream().close();
    return new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8) + process.waitFor();
  }

  private static String http() throws Exception {
    HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
    server.createContext("/", exchange -> {
      exchange.sendResponseHeaders(200, 5);
      exchange.getResponseBody().write("hello".getBytes(StandardCharsets.UTF_8));
      exchange.close();
    });
    server.start();
    try {
      URI uri = URI.create("http://localhost:" + server.getAddress().getPort() + "/");
      String first = HttpClient.newHttpClient().send(HttpRequest.newBuilder(uri).build(), BodyHandlers.ofString()).body();
      return first + new String(uri.toURL().openStream().readAllBytes(), StandardCharsets.UTF_8);
    } finally {
      server.stop(0);
    }
  }

  private static List<String> file() throws Exception {
    Path file = Files.createTempFile("benign", ".txt");
    try {
      Files.writeString(file, "one\ntwo\n");
      return Files.readAllLines(file);
    } finally {
      Files.delete(file);
    }
  }

  private static int pool() throws Exception {
    var executor = Executors.newFixedThreadPool(4);
    try {
      List<Future<Integer>> results = executor.invokeAll(List.of(() -> 1, () -> 2, () -> 3));
      int sum = 0;
      for (Future<Integer> result : results) {
        sum += result.get();
      }
      return sum;
    } finally {
      executor.shutdown();
    }
  }

  private static Object restored() throws Exception {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (ObjectOutputStream stream = new ObjectOutputStream(bytes)) {
      stream.writeObject(new PriorityQueue<>(List.of(3, 1, 2)));
    }
    return new ObjectInputStream(new ByteArrayInputStream(bytes.toByteArray())).readObject();
  }
}
