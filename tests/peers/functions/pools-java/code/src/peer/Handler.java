package peer;

import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** Children by ProcessBuilder, in a pipeline and from many threads; virtual threads that block on sockets and children. */
public final class Handler {
  public Map<String, Object> handle(Map<String, Object> event) throws Exception {
    Map<String, Object> answer = new TreeMap<>();
    answer.put("child", child("a-z", "A-Z", "text"));
    answer.put("pipeline", pipeline());
    answer.put("environment", environment());
    answer.put("missing", missing());
    answer.put("platform threads", all(Executors.newFixedThreadPool(4)));
    // Of Java 21; the class is compiled for 17.
    answer.put("virtual threads", all((ExecutorService) Executors.class.getMethod("newVirtualThreadPerTaskExecutor").invoke(null)));
    return answer;
  }

  private static List<String> all(ExecutorService pool) throws Exception {
    try (ServerSocket server = new ServerSocket(0, 50, InetAddress.getLoopbackAddress())) {
      Thread serving = new Thread(() -> serve(server));
      serving.start();
      List<Callable<String>> tasks = new ArrayList<>();
      for (int number = 0; number < 16; number++) {
        String text = "n" + number;
        tasks.add(number % 4 == 0 ? () -> child("n", "N", text) : () -> echo(server, text));
      }
      List<String> found = new ArrayList<>();
      for (Future<String> each : pool.invokeAll(tasks)) {
        found.add(each.get());
      }
      return found;
    } finally {
      pool.shutdown();
    }
  }

  private static void serve(ServerSocket server) {
    while (true) {
      try (Socket client = server.accept()) {
        client.getOutputStream().write(client.getInputStream().readNBytes(4));
      } catch (Exception closed) {
        return;
      }
    }
  }

  private static String echo(ServerSocket server, String text) throws Exception {
    try (Socket socket = new Socket()) {
      socket.connect(new InetSocketAddress(InetAddress.getLoopbackAddress(), server.getLocalPort()));
      socket.getOutputStream().write(String.format("%-4s", text).getBytes(StandardCharsets.UTF_8));
      return new String(socket.getInputStream().readAllBytes(), StandardCharsets.UTF_8).trim();
    }
  }

  private static String child(String from, String to, String text) throws Exception {
    Process process = new ProcessBuilder("/usr/bin/tr", from, to).start();
    process.getOutputStream().write(text.getBytes(StandardCharsets.UTF_8));
    process.getOutputStream().close();
    return new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8) + process.waitFor();
  }

  private static String pipeline() throws Exception {
    List<Process> started =
        ProcessBuilder.startPipeline(List.of(new ProcessBuilder("/usr/bin/printf", "b\\na\\n"), new ProcessBuilder("/usr/bin/sort")));
    Process last = started.get(1);
    return new String(last.getInputStream().readAllBytes(), StandardCharsets.UTF_8) + last.waitFor();
  }

  private static String environment() throws Exception {
    ProcessBuilder builder = new ProcessBuilder("/usr/bin/printenv", "ONLY", "AWS_REGION");
    builder.environment().clear();
    builder.environment().put("ONLY", "this");
    return new String(builder.redirectErrorStream(true).start().getInputStream().readAllBytes(), StandardCharsets.UTF_8);
  }

  private static String missing() {
    try {
      new ProcessBuilder("/usr/bin/there-is-none").start();
      return "started";
    } catch (java.io.IOException error) {
      return error.getMessage().replaceAll(".*error=", "error=");
    }
  }
}
