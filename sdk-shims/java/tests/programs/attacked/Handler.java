package attacked;

import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.net.InetAddress;
import java.net.Socket;
import java.util.HashMap;
import java.util.Map;
import ringfence.Ringfence;

/** A function that tries what its policy forbids, one attempt a line, and what it allows. */
public final class Handler {
  interface Work {
    void run() throws Exception;
  }

  public Map<String, String> handleRequest(Map<String, Object> event) {
    Map<String, String> answer = new HashMap<>();
    attempt(answer, "shell", () -> ended(new ProcessBuilder("/bin/sh", "-c", "id").start()));
    attempt(answer, "child", () -> ended(new ProcessBuilder("/bin/true").start()));
    attempt(answer, "resolve", () -> InetAddress.getByName("evil.example"));
    attempt(answer, "connect", () -> new Socket("203.0.113.9", 4444));
    attempt(answer, "environ", () -> new FileInputStream("/proc/self/environ").close());
    attempt(answer, "secret", () -> System.getenv("AWS_SECRET_ACCESS_KEY").length());
    try (var scope = Ringfence.scope("tmp")) {
      attempt(answer, "scope", () -> new FileOutputStream("/tmp/within").close());
    }
    attempt(answer, "after", () -> new FileOutputStream("/tmp/after").close());
    return answer;
  }

  private static void ended(Process child) throws Exception {
    if (child.waitFor() != 0) {
      throw new IllegalStateException("the child failed");
    }
  }

  private static void attempt(Map<String, String> answer, String name, Work work) {
    String said = "done";
    try {
      work.run();
    } catch (Exception fault) {
      said = "failed";
    }
    answer.put(name, said);
  }
}
