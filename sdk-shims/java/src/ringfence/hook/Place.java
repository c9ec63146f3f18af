package ringfence.hook;

import java.util.ArrayList;
import java.util.List;

/**
 * Which line of the function's own code stands behind an event, by walking the stack.
 *
 * <p>The function's own are the classes whose package begins as the handler's does, by two names. Names of classes and
 * files can be forged by code that already runs in the process: this is evidence, not proof.
 */
final class Place {
  private static final int MAX_FRAMES = 8;
  private static final String[] STANDARD = {"java.", "javax.", "jdk.", "sun.", "com.sun.", "ringfence."};
  private static final String[] RUNTIME = {
    "com.amazonaws.services.lambda.runtime.", "com.amazonaws.lambda.thirdparty.", "lambdainternal."
  };
  private static final String[] SDKS = {
    "software.amazon.awssdk.", "com.amazonaws.", "software.amazon.lambda.powertools."
  };
  /** Packages that wrap what others do: a line of theirs is not the one that acted. */
  private static final String[] WRAPPERS = {
    "io.opentelemetry.", "datadog.", "com.newrelic.", "co.elastic.apm.", "io.sentry.", "com.amazonaws.xray.", "net.bytebuddy."
  };
  /** How the names of the function's own classes begin; empty for a handler without package. */
  private static final String OWN = ownPackage(System.getenv("_HANDLER"));

  /** {@code Handler.java:12}; empty where there is none. */
  final String code;

  /** The way from there to the handler, {@code Handler.java:12 example.Handler.handleRequest}. */
  final List<String> frames;

  /** Whether the function's own code is on the stack. */
  final boolean own;

  /** The package that acts, where the nearest code is not the function's own; else empty. */
  final String asker;

  private Place(String code, List<String> frames, boolean own, String asker) {
    this.asker = asker;
    this.code = code;
    this.frames = frames;
    this.own = own;
  }

  /** Where the thread is now. */
  static Place here() {
    return of(new Throwable().getStackTrace());
  }

  static Place of(StackTraceElement[] stack) {
    String outermost = "";
    String wrapper = "";
    String asker = null;
    List<String> frames = new ArrayList<>(MAX_FRAMES);
    for (StackTraceElement element : stack) {
      String type = element.getClassName();
      if (isStandard(element)) {
        continue;
      }
      if (begins(type, RUNTIME)) {
        break;
      }
      if (isOwn(type)) {
        asker = asker == null ? "" : asker;
        if (frames.size() < MAX_FRAMES) {
          frames.add(line(element) + " " + type + "." + element.getMethodName());
        }
      } else {
        asker = asker == null ? packageOf(element) : asker;
        if (begins(type, WRAPPERS)) {
          wrapper = line(element);
        } else {
          outermost = line(element);
        }
      }
    }
    boolean own = !frames.isEmpty();
    String code = own ? frames.get(0).substring(0, frames.get(0).indexOf(' ')) : outermost.isEmpty() ? wrapper : outermost;
    return new Place(code, frames, own, asker == null ? "" : asker);
  }

  /** The nearest code that is not the JDK's; null where there is none. */
  static StackTraceElement nearest(StackTraceElement[] stack) {
    for (StackTraceElement element : stack) {
      if (!isStandard(element)) {
        return element;
      }
    }
    return null;
  }

  /** Whether a class is loaded on behalf of the nearest code: that may be late, and is no deed of the function's. */
  static boolean isClassLoading() {
    for (StackTraceElement element : new Throwable().getStackTrace()) {
      if (!isStandard(element)) {
        return false;
      }
      if (element.getMethodName().equals("loadClass") && element.getClassName().equals("java.lang.ClassLoader")) {
        return true;
      }
    }
    return false;
  }

  static boolean isSdk(StackTraceElement element) {
    String type = element.getClassName();
    return begins(type, RUNTIME) || (begins(type, SDKS) && !isOwn(type));
  }

  static String line(StackTraceElement element) {
    String file = element.getFileName();
    return (file == null ? element.getClassName() : file) + ":" + Math.max(0, element.getLineNumber());
  }

  private static boolean isStandard(StackTraceElement element) {
    return element.getModuleName() != null || begins(element.getClassName(), STANDARD);
  }

  /** {@code com.acme.vault} of a class in it or below. */
  static String packageOf(StackTraceElement element) {
    String type = element.getClassName();
    int end = 0;
    for (int part = 0; part < 3; part++) {
      int dot = type.indexOf('.', end + 1);
      end = dot < 0 ? end : dot;
    }
    return end == 0 ? type : type.substring(0, end);
  }

  static boolean isOwn(String type) {
    return OWN.isEmpty() ? type.indexOf('.') < 0 : type.startsWith(OWN);
  }

  private static boolean begins(String type, String[] beginnings) {
    for (String beginning : beginnings) {
      if (type.startsWith(beginning)) {
        return true;
      }
    }
    return false;
  }

  /** {@code com.acme.} of {@code com.acme.orders.Handler::handleRequest}; the whole package where an SDK begins alike. */
  static String ownPackage(String handler) {
    String type = handler == null ? "" : handler.split("::", 2)[0];
    if (begins(type, SDKS)) {
      return type.substring(0, type.lastIndexOf('.') + 1);
    }
    int first = type.indexOf('.');
    int second = type.indexOf('.', first + 1);
    return type.substring(0, (second < 0 ? first : second) + 1);
  }
}
