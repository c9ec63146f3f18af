package ringfence.hook;

import java.util.HashMap;
import java.util.Map;

/**
 * Decides whether a read of a credential variable is worth a record, and sends it.
 *
 * <p>Reads by the AWS SDKs and the runtime client are what the variables are for. Any other reader is reported, once a
 * second at most for a variable and a line, and again in each invocation. The value is never touched here.
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

  static boolean isCredential(String name) {
    switch (name) {
      case "AWS_ACCESS_KEY_ID":
      case "AWS_SECRET_ACCESS_KEY":
      case "AWS_SESSION_TOKEN":
      case "AWS_CONTAINER_AUTHORIZATION_TOKEN":
        return true;
      default:
        return false;
    }
  }

  /** The value of a credential was read. */
  static void one(String name) {
    StackTraceElement[] stack = new Throwable().getStackTrace();
    StackTraceElement reader = Place.nearest(stack);
    if (reader != null && !Place.isSdk(reader)) {
      note(name, reader, stack);
    }
  }

  /** All values were read. */
  static void all() {
    StackTraceElement[] stack = new Throwable().getStackTrace();
    StackTraceElement reader = Place.nearest(stack);
    if (reader == null || Place.isSdk(reader)) {
      return;
    }
    for (String beginning : SETTINGS) {
      if (reader.getClassName().startsWith(beginning)) {
        return;
      }
    }
    note(WHOLE, reader, stack);
  }

  private static void note(String name, StackTraceElement reader, StackTraceElement[] stack) {
    // The runtime client keeps the id of the invocation's trace here.
    String invocation = System.getProperty("com.amazonaws.xray.traceHeader", "");
    if (isNew(name + " " + Place.line(reader) + " " + invocation)) {
      Message message = new Message(Message.VIOLATION, Message.READ_CREDENTIAL);
      message.verdict(Message.REPORTED, Message.RULE_CREDENTIALS_READS).text(Message.NAME, name);
      Channel.send(message.place(Place.of(stack)));
    }
  }

  private static synchronized boolean isNew(String read) {
    long now = System.nanoTime();
    Long before = reported.get(read);
    if (before != null && now - before < QUIET) {
      return false;
    }
    if (reported.size() >= MAX_REMEMBERED) {
      reported.clear();
    }
    reported.put(read, now);
    return true;
  }
}
