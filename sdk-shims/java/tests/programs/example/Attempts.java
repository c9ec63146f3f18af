package example;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.FileInputStream;
import java.io.ObjectInputStream;
import java.io.ObjectOutputStream;
import java.io.RandomAccessFile;
import java.net.DatagramPacket;
import java.net.DatagramSocket;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.ByteBuffer;
import java.nio.channels.AsynchronousSocketChannel;
import java.nio.channels.DatagramChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.PriorityQueue;

/** One attempt a line, named, so that the tests find the line; port 1 of loopback is closed. */
public final class Attempts {
  interface Work {
    Object run() throws Exception;
  }

  private static final Map<String, Work> ALL = new HashMap<>();

  static {
    ALL.put("builder", () -> new ProcessBuilder("/bin/true", "banana").start().waitFor());
    ALL.put("runtime", () -> Runtime.getRuntime().exec(new String[] {"/bin/true"}).waitFor());
    ALL.put("pipeline", () -> ProcessBuilder.startPipeline(List.of(new ProcessBuilder("/bin/true"))).get(0).waitFor());
    ALL.put("socket", () -> new Socket("127.0.0.1", 1));
    ALL.put("channel", () -> SocketChannel.open(new InetSocketAddress("127.0.0.1", 1)));
    ALL.put("asynchronous", () -> AsynchronousSocketChannel.open().connect(new InetSocketAddress("127.0.0.1", 1)).get());
    ALL.put("url", () -> URI.create("http://127.0.0.1:1/").toURL().openStream());
    ALL.put("client", () -> HttpClient.newHttpClient().send(get("http://127.0.0.1:1/"), BodyHandlers.ofString()));
    ALL.put("datagram", () -> send(new DatagramSocket()));
    ALL.put("datagramChannel", () -> DatagramChannel.open().send(ByteBuffer.allocate(1), new InetSocketAddress("127.0.0.1", 1)));
    ALL.put("lookup", () -> InetAddress.getByName("nowhere.invalid"));
    ALL.put("listener", () -> close(new ServerSocket(0)));
    ALL.put("stream", () -> close(new FileInputStream("/proc/self/environ")));
    ALL.put("random", () -> close(new RandomAccessFile("/proc/self/environ", "r")));
    ALL.put("path", () -> Files.readAllBytes(Path.of("/proc/self/environ")).length);
    ALL.put("library", () -> load("/tmp/none.so"));
    ALL.put("variable", () -> System.getenv("AWS_SECRET_ACCESS_KEY").length());
    ALL.put("map", () -> System.getenv().get("AWS_SESSION_TOKEN").length());
    ALL.put("whole", () -> new HashMap<>(System.getenv()).size());
    ALL.put("value", () -> show(System.getenv("AWS_SECRET_ACCESS_KEY")));
    ALL.put("valueOfMap", () -> show(System.getenv().get("AWS_SECRET_ACCESS_KEY")));
    ALL.put("copied", () -> show(new HashMap<>(System.getenv()).get("AWS_SECRET_ACCESS_KEY")));
    ALL.put("values", () -> show(System.getenv().values().contains("the-secret")));
    ALL.put("text", () -> show(System.getenv().toString().contains("the-secret")));
    ALL.put("presence", () -> show(System.getenv().containsKey("AWS_SECRET_ACCESS_KEY")));
    ALL.put("ofChild", () -> show(new ProcessBuilder().environment().get("AWS_SECRET_ACCESS_KEY")));
    ALL.put("copiedOfChild", () -> show(new HashMap<>(new ProcessBuilder().environment()).get("AWS_SECRET_ACCESS_KEY")));
    ALL.put("reference", () -> show(java.util.concurrent.CompletableFuture.supplyAsync(System::getenv).get().get("AWS_SECRET_ACCESS_KEY")));
    ALL.put("mapped", () -> show(java.util.Optional.of("AWS_SECRET_ACCESS_KEY").map(System::getenv).orElse(null)));
    ALL.put("token", () -> show(System.getenv("AWS_SESSION_TOKEN")));
    ALL.put("ofSdk", () -> show(software.amazon.awssdk.Provider.resolve()));
    ALL.put("inherited", () -> show(count(new ProcessBuilder("/usr/bin/env"))));
    ALL.put("names", () -> System.getenv().keySet().contains("AWS_SECRET_ACCESS_KEY"));
    ALL.put("other", () -> System.getenv("PATH").length());
    ALL.put("sdk", () -> software.amazon.awssdk.Provider.resolve());
    ALL.put("restoredValues", () -> restore(new ArrayList<>(List.of(1, "a"))));
    ALL.put("gadget", () -> restore(new PriorityQueue<>(List.of(1))));
  }

  private Attempts() {}

  public static void main(String[] names) throws Exception {
    for (String name : names) {
      try {
        ALL.get(name).run();
        System.out.println(name + " done");
      } catch (Exception fault) {
        System.out.println(name + " " + fault.getClass().getName());
      }
    }
  }

  private static Object show(Object value) {
    System.out.println(value);
    return value;
  }

  private static long count(ProcessBuilder builder) throws Exception {
    return new String(builder.start().getInputStream().readAllBytes()).lines().filter(line -> line.endsWith("=the-secret")).count();
  }

  private static Object send(DatagramSocket socket) throws Exception {
    socket.send(new DatagramPacket(new byte[1], 1, new InetSocketAddress("127.0.0.1", 1)));
    return close(socket);
  }

  private static Object close(AutoCloseable open) throws Exception {
    open.close();
    return open;
  }

  private static HttpRequest get(String url) {
    return HttpRequest.newBuilder(URI.create(url)).build();
  }

  private static Object load(String path) throws Exception {
    try {
      System.load(path);
    } catch (UnsatisfiedLinkError expected) {
      throw new Exception(expected);
    }
    return path;
  }

  private static Object restore(Object object) throws Exception {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    new ObjectOutputStream(bytes).writeObject(object);
    return new ObjectInputStream(new ByteArrayInputStream(bytes.toByteArray())).readObject();
  }
}
