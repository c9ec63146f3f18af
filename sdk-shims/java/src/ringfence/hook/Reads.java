package ringfence.hook;

import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Decides whether a reader of the environment may have a credential, and sends the record where one is due.
 *
 * <p>Reads by the AWS SDKs, the runtime client and the packages that the policy exempts are what the variables are for. Any
 * other reader is reported or denied: once a second at most for a variable and a line, and again in each invocation. A
 * package that goes through the whole environment for its settings is told once. The value is never touched here.
 */
final class Reads {
  /** The name under which a read of the whole environment is reported. */
  private static final String WHOLE = "AWS_SECRET_ACCESS_KEY";
  /** Nanoseconds in which the same read is not reported again. */
  private static final long QUIET = 1_000_000_000L;
  private static final int MAX_REMEMBERED = 256;
  /** Packages that go through the whole environment to find settings by the form of their names. */
  private static final String[] SETTINGS = {
    "org.apache.logging.log4j.", "org.springframework.", "io.micronaut.", "io.quarkus.", "io.smallrye.config.",
    "ch.qos.logback.", "io.opentelemetry.", "org.crac."
  };

  private static final Map<String, Long> reported = new HashMap<>();

  private Reads() {}

  /** What the policy says of reads: 0 nothing, 1 report, 2 deny. */
  private static final int LEVEL = Words.level("reads");

  private static final List<String> EXEMPT_VARIABLES = Words.list("reads_variables");
  private static final List<String> EXEMPT_PACKAGES = Words.list("reads_packages");
  /** What a record of a copy says besides. The agent knows a package's copy by the beginning. */
  private static final String COPY = "in a copy of the whole environment";

  /** Whether the policy denies anything. */
  static boolean denies() {
    return LEVEL == Limits.DENY;
  }

  /** Whether reads of this variable are judged. */
  static boolean isWatched(String name) {
    switch (name) {
      case "AWS_ACCESS_KEY_ID":
      case "AWS_SECRET_ACCESS_KEY":
      case "AWS_SESSION_TOKEN":
      case "AWS_CONTAINER_AUTHORIZATION_TOKEN":
        return LEVEL != 0 && !EXEMPT_VARIABLES.contains(name);
      default:
        return false;
    }
  }

  /** Whether the reader may have the value of a credential; what is due of it is told. */
  static boolean gives(String name) {
    StackTraceElement[] stack = new Throwable().getStackTrace();
    StackTraceElement reader = Place.nearest(stack);
    if (mayRead(reader)) {
      return true;
    }
    note(name, name + " " + line(reader), stack, "");
    return LEVEL != Limits.DENY;
  }

  /** Whether the reader may have all values. */
  static boolean givesAll() {
    StackTraceElement[] stack = new Throwable().getStackTrace();
    StackTraceElement reader = Place.nearest(stack);
    if (LEVEL == 0 || mayRead(reader)) {
      return true;
    }
    if (reader == null || !startsWithAny(reader.getClassName(), SETTINGS)) {
      String name = reader == null || Place.isOwn(reader.getClassName()) ? "" : Place.packageOf(reader);
      String detail = name.isEmpty() ? COPY : COPY + ", by the package " + name;
      note(WHOLE, name.isEmpty() ? WHOLE + " " + line(reader) : "package " + name, stack, detail);
    }
    return LEVEL != Limits.DENY;
  }

  /** Whether the reader may know that a credential is there. */
  static boolean givesQuietly() {
    return LEVEL != Limits.DENY || mayRead(Place.nearest(new Throwable().getStackTrace()));
  }

  /** Takes the credentials out of a child's environment that is gone through. */
  static void takeFrom(Map<?, ?> environment) {
    for (String name : new String[] {"AWS_ACCESS_KEY_ID", WHOLE, "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN"}) {
      if (isWatched(name)) {
        environment.remove(name);
      }
    }
  }

  /** Where nothing but the JDK is on the stack, a method of its is the work itself: that is told where it is denied. */
  private static boolean mayRead(StackTraceElement reader) {
    if (reader == null) {
      return LEVEL != Limits.DENY;
    }
    if (Place.isSdk(reader)) {
      return true;
    }
    for (String name : EXEMPT_PACKAGES) {
      if (reader.getClassName().startsWith(name + ".")) {
        return true;
      }
    }
    return false;
  }

  private static boolean startsWithAny(String type, String[] beginnings) {
    for (String beginning : beginnings) {
      if (type.startsWith(beginning)) {
        return true;
      }
    }
    return false;
  }

  private static String line(StackTraceElement reader) {
    return reader == null ? "" : Place.line(reader);
  }

  private static void note(String name, String read, StackTraceElement[] stack, String detail) {
    // The runtime client keeps the id of the invocation's trace here.
    boolean once = read.startsWith("package ");
    String invocation = once ? "" : System.getProperty("com.amazonaws.xray.traceHeader", "");
    if (isNew(read + " " + invocation, once)) {
      Message message = new Message(Message.VIOLATION, Message.READ_CREDENTIAL);
      message.verdict(LEVEL == Limits.DENY ? Message.BLOCKED : Message.REPORTED, Message.RULE_CREDENTIALS_READS);
      message.text(Message.NAME, name);
      if (!detail.isEmpty()) {
        message.text(Message.DETAIL, detail);
      }
      Channel.send(message.place(Place.of(stack)));
    }
  }

  private static synchronized boolean isNew(String read, boolean once) {
    long now = System.nanoTime();
    Long before = reported.get(read);
    if (before != null && (once || now - before < QUIET)) {
      return false;
    }
    if (reported.size() >= MAX_REMEMBERED) {
      reported.clear();
    }
    reported.put(read, now);
    return true;
  }
}
