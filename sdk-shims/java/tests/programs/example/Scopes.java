package example;

import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.net.InetAddress;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import ringfence.Denied;
import ringfence.Ringfence;
import ringfence.Scope;

/** What scopes deny, and how far they reach. Prints a word for each. */
public final class Scopes {
  interface Work {
    Object run() throws Exception;
  }

  private static final Map<String, Work> ALL = new HashMap<>();

  static {
    ALL.put("exec", () -> new ProcessBuilder("/bin/true").start());
    ALL.put("connect", () -> new Socket(InetAddress.getByAddress(new byte[] {(byte) 203, 0, 113, 9}), 443));
    ALL.put("resolve", () -> InetAddress.getByName("evil.example"));
    ALL.put("write", () -> new FileOutputStream("/tmp/ringfence-x"));
    ALL.put("writePath", () -> Files.writeString(Path.of("/var/../tmp/ringfence-x"), "x"));
    ALL.put("read", () -> new FileInputStream("/tmp/ringfence-x"));
    ALL.put("mkdir", () -> new File("/tmp/ringfence-x").mkdir());
    ALL.put("rename", () -> Files.move(someFile(), Path.of("/tmp/ringfence-x")));
    ALL.put("delete", () -> new File("/tmp/ringfence-x").delete());
    ALL.put("own", () -> Files.readAllBytes(Path.of(System.getenv("LAMBDA_TASK_ROOT"), "example/Scopes.class")));
  }

  private Scopes() {}

  public static void main(String[] names) throws Exception {
    switch (names[0]) {
      case "reach" -> reach();
      case "missing" -> say(() -> Ringfence.scope("tmp"));
      case "wrong" -> wrong();
      case "configure" -> configure();
      default -> denied(names);
    }
  }

  private static Path someFile() throws Exception {
    Path file = Files.createTempFile(Path.of("/var/tmp"), "ringfence", null);
    file.toFile().deleteOnExit();
    return file;
  }

  private static void denied(String[] names) throws Exception {
    for (String name : names) {
      try (Scope scope = Ringfence.scope("tmp", "egress", "children", "files")) {
        say(ALL.get(name));
      }
    }
  }

  private static void reach() throws Exception {
    ExecutorService before = Executors.newSingleThreadExecutor();
    before.submit(() -> "started").get();
    Work exec = () -> new ProcessBuilder("/bin/true").start().waitFor();
    ExecutorService within;
    try (Scope outer = Ringfence.scope("children")) {
      try (Scope inner = Ringfence.scope(Map.of("children", "allow"))) {
        say(exec); // An inner scope loosens nothing.
      }
      say(exec);
      thread(exec); // A thread that is started in it.
      before.submit(() -> say(exec)).get(); // One that was there before.
      within = Executors.newSingleThreadExecutor();
      within.submit(() -> say(exec)).get();
      say(() -> Class.forName("example.Late").getDeclaredConstructor().newInstance());
    }
    within.submit(() -> say(exec)).get(); // The pool's thread outlives the scope.
    say(exec);
    try (Scope report = Ringfence.scope(Map.of("children", "report"))) {
      say(exec);
    }
    try (Scope globs = Ringfence.scope(Map.of("files", List.of("/etc/host*")))) {
      say(() -> Files.readString(Path.of("/etc/hostname")));
      say(() -> Files.readString(Path.of("/etc/passwd")));
    }
    before.shutdown();
    within.shutdown();
  }

  private static void configure() throws Exception {
    Ringfence.configure(Map.of("policy", Map.of("create_child_process", "block"), "token", "x"));
    Ringfence.configure(Map.of("create_child_process", "allow", "outbound_connectivity", "alert"));
    say(ALL.get("exec"));
    thread(ALL.get("exec"));
    say(() -> InetAddress.getByName("nowhere.invalid"));
  }

  private static void wrong() throws Exception {
    say(() -> Ringfence.scope("temp"));
    say(() -> Ringfence.scope(Map.of("tmp", "block")));
    Ringfence.configure(Map.of("read_write_temp", "block"));
  }

  private static void thread(Work work) throws Exception {
    Thread thread = new Thread(() -> say(work));
    thread.start();
    thread.join();
  }

  private static Object say(Work work) {
    try {
      work.run();
      System.out.println("done");
    } catch (Denied denied) {
      System.out.println("denied");
    } catch (Exception fault) {
      System.out.println(fault.getClass().getSimpleName());
    }
    return work;
  }
}
