package ringfence.agent;

import java.io.IOException;
import java.lang.instrument.Instrumentation;
import java.lang.reflect.Field;
import java.util.Map;
import java.util.Set;
import java.util.zip.ZipFile;
import jdk.internal.access.JavaLangAccess;
import jdk.internal.access.SharedSecrets;
import jdk.internal.misc.Unsafe;
import ringfence.hook.Start;
import ringfence.hook.Variables;

/**
 * Where the JVM enters before the function's code: {@code -javaagent:/opt/ringfence/java/ringfence.jar}.
 *
 * <p>Gives the hook's classes to the boot loader, where the JDK's own can call them, and goes on there. It knows nothing of
 * what is watched. Nothing here prints, and none of its faults reaches the function.
 */
public final class Agent {
  /**
   * What the boot loader gets, one by one: with the jar on its path, JVMs since 24 would say so on the function's output and
   * load no class of the application from a shared archive any more.
   */
  private static final String[] CLASSES = {
    "Denied", "hook/Channel$Self", "hook/Channel", "hook/Classes", "hook/Events", "hook/Library$Native", "hook/Library",
    "hook/Limits$OfFile", "hook/Limits", "hook/Message", "hook/Place", "hook/Prefix$Call", "hook/Prefix", "hook/Reads", "hook/Start", "hook/Variables",
    "hook/Watches$Watched", "hook/Watches", "hook/Words"
  };
  /** What it gets besides where the policy has [code]. */
  private static final String[] OF_CODE = {"hook/CodeStart", "hook/CodeWatches", "hook/Detections", "hook/Taint"};

  private Agent() {}

  /** Called by the JVM. Where the launcher has left no way to the agent, nothing is installed. */
  public static void premain(String arguments, Instrumentation instrumentation) {
    String descriptor = System.getenv("RINGFENCE_REPORT_FD");
    if (descriptor == null) {
      return;
    }
    try {
      export(instrumentation);
      Boot.define();
      // Copied before reads are watched.
      Map<String, String> instead = Variables.instead(System.getenv());
      if (Start.install(instrumentation, Integer.parseInt(descriptor)) && instead != null) {
        Boot.hide(instead);
      }
    } catch (Throwable fault) {
      // The function starts without the hook; the lower planes hold all the same.
    }
  }

  /** Lets this jar, and nobody else, use two packages of java.base. */
  private static void export(Instrumentation instrumentation) {
    Set<Module> ours = Set.of(Agent.class.getModule());
    Map<String, Set<Module>> exports = Map.of("jdk.internal.misc", ours, "jdk.internal.access", ours);
    instrumentation.redefineModule(Object.class.getModule(), Set.of(), exports, Map.of(), Set.of(), Map.of());
  }

  /** Linked only when the packages are there to be used. */
  private static final class Boot {
    static void define() throws IOException {
      Unsafe unsafe = Unsafe.getUnsafe();
      Class<?> last;
      // A look into the jar by the class loader would go by a URL, and take as long as all the rest.
      try (ZipFile jar = new ZipFile(Agent.class.getProtectionDomain().getCodeSource().getLocation().getPath())) {
        last = define(unsafe, jar, CLASSES);
        if (isOfCode(System.getenv("RINGFENCE_CODE"))) {
          define(unsafe, jar, OF_CODE);
        }
      }
      // The JDK's classes may call ours, and ours make a file descriptor of a number, as the runtime client does, too.
      JavaLangAccess java = SharedSecrets.getJavaLangAccess();
      java.addReads(Object.class.getModule(), last.getModule());
      java.addOpens(Object.class.getModule(), "java.io", last.getModule());
      // And they raise a signal of a number of their choice.
      java.addOpens(Object.class.getModule(), "jdk.internal.misc", last.getModule());
    }

    /** Puts the environment of the hook in the place of the JDK's, where the policy denies reads of credentials. The field is
     * final, and nothing that was compiled has read it yet. */
    static void hide(Map<String, String> instead) throws ReflectiveOperationException {
      Field field = Class.forName("java.lang.ProcessEnvironment", true, null).getDeclaredField("theUnmodifiableEnvironment");
      Unsafe unsafe = Unsafe.getUnsafe();
      unsafe.putReferenceVolatile(unsafe.staticFieldBase(field), unsafe.staticFieldOffset(field), instead);
    }

    /** As the hook's Words says it, which this class must not load twice. */
    private static boolean isOfCode(String words) {
      for (String pair : words == null ? new String[0] : words.split(",")) {
        if (!pair.startsWith("reads")) {
          return true;
        }
      }
      return false;
    }

    private static Class<?> define(Unsafe unsafe, ZipFile jar, String[] names) throws IOException {
      Class<?> last = null;
      for (String name : names) {
        byte[] bytes = jar.getInputStream(jar.getEntry("ringfence/" + name + ".class")).readAllBytes();
        last = unsafe.defineClass("ringfence/" + name, bytes, 0, bytes.length, null, null);
      }
      return last;
    }
  }
}
