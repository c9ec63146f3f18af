package attacked;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import ringfence.Ringfence;
import ringfence.Scope;

/** What native code and children can do before, in and after scopes; each answer is a row of y and n. */
public final class Within {
  interface Work {
    boolean run() throws Exception;
  }

  static {
    System.load(System.getenv("LAMBDA_TASK_ROOT") + "/libnative.so");
  }

  static native boolean opened();

  static native boolean connected();

  static native boolean started();

  static native boolean openedByThread();

  public Map<String, String> handleRequest(Map<String, Object> event) throws Exception {
    Map<String, String> answer = new TreeMap<>();
    answer.put("without", all());
    for (String kind : List.of("tmp", "egress", "children")) {
      try (Scope scope = Ringfence.scope(kind)) {
        answer.put(kind, all());
      }
    }
    answer.put("after", all());
    answer.put("child", child());
    answer.put("nested", nested());
    answer.put("threads", threads());
    answer.put("elsewhere", closedElsewhere());
    answer.put("virtual", virtual());
    if ("yes".equals(event.get("configure"))) {
      Ringfence.configure(Map.of("create_child_process", "block"));
      answer.put("configure", all());
    }
    return answer;
  }

  /** tmp, tmp by a native thread, egress, children. */
  private static String all() {
    return row(opened(), openedByThread(), connected(), started());
  }

  private static String row(boolean... done) {
    StringBuilder text = new StringBuilder();
    for (boolean each : done) {
      text.append(each ? 'y' : 'n');
    }
    return text.toString();
  }

  /** A program that is started under a scope has its limits. */
  private static String child() throws Exception {
    boolean before = lists();
    try (Scope scope = Ringfence.scope("tmp")) {
      return row(before, lists());
    }
  }

  private static boolean lists() throws Exception {
    return new ProcessBuilder("/bin/ls", "/tmp").redirectErrorStream(true).start().waitFor() == 0;
  }

  private static String nested() {
    try (Scope outer = Ringfence.scope("tmp")) {
      String inner;
      try (Scope scope = Ringfence.scope("children")) {
        inner = all();
      }
      return inner + " " + all();
    }
  }

  /** A thread from before, one made in the scope, and that one after it. */
  private static String threads() throws Exception {
    ExecutorService before = Executors.newSingleThreadExecutor();
    ExecutorService within = Executors.newSingleThreadExecutor();
    before.submit(() -> "started").get();
    List<Boolean> done = new ArrayList<>();
    try (Scope scope = Ringfence.scope("tmp")) {
      done.add(before.submit(Within::opened).get());
      done.add(within.submit(Within::opened).get());
      before.submit(() -> "still").get();
    }
    done.add(within.submit(Within::opened).get());
    done.add(opened());
    before.shutdown();
    within.shutdown();
    return row(done.get(0), done.get(1), done.get(2), done.get(3));
  }

  /** Closed by another thread: over for Java at once, for native code with the next deed of Java's. */
  private static String closedElsewhere() throws Exception {
    Scope scope = Ringfence.scope("tmp");
    boolean inside = opened();
    Thread other = new Thread(scope::close);
    other.start();
    other.join();
    new java.io.File("/var/tmp/none").delete();
    return row(inside, opened());
  }

  /** A scope of a virtual thread, for itself; and one of another's while threads that carry virtual ones are made. */
  private static String virtual() throws Exception {
    ExecutorService executor = virtualThreads();
    if (executor == null) {
      return "none";
    }
    List<Boolean> done = Collections.synchronizedList(new ArrayList<>());
    try (Scope scope = Ringfence.scope("tmp")) {
      // The first virtual threads of this process: what carries them is made here, in the scope.
      executor.submit(() -> done.add(opened())).get();
    }
    CountDownLatch entered = new CountDownLatch(1);
    CountDownLatch leave = new CountDownLatch(1);
    var inside = executor.submit(() -> {
      try (Scope scope = Ringfence.scope("tmp")) {
        done.add(opened());
        entered.countDown();
        leave.await();
        return new java.io.File("/tmp/none").delete();
      }
    });
    entered.await();
    for (int each = 0; each < 8; each++) {
      done.add(executor.submit(Within::opened).get());
    }
    leave.countDown();
    try {
      inside.get();
      done.add(true);
    } catch (java.util.concurrent.ExecutionException denied) {
      done.add(false);
    }
    executor.shutdown();
    StringBuilder text = new StringBuilder();
    done.forEach(each -> text.append(row(each)));
    return text.toString();
  }

  /** Java 21's, of which this file must not know. */
  private static ExecutorService virtualThreads() throws Exception {
    try {
      return (ExecutorService) Executors.class.getMethod("newVirtualThreadPerTaskExecutor").invoke(null);
    } catch (NoSuchMethodException older) {
      return null;
    }
  }
}
