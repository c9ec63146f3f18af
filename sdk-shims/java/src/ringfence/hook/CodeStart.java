package ringfence.hook;

import java.io.IOException;
import java.io.InputStream;
import java.lang.instrument.ClassDefinition;
import java.lang.instrument.Instrumentation;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.WeakHashMap;

/**
 * Puts the watches of {@code [code]} in place: at the start those of the JDK and of the runtime's client, and those of a script
 * engine when the first of its class is made.
 *
 * <p>Only where the policy has a key that needs them; of nothing else is a class loaded or redefined. What cannot be watched
 * is left as it is.
 */
final class CodeStart {
  private static final ClassLoader SYSTEM = ClassLoader.getSystemClassLoader();
  private static final StackWalker WALKER = StackWalker.getInstance(StackWalker.Option.RETAIN_CLASS_REFERENCE);
  private static final String COMPILER_EXCEPTIONS = "com.sun.tools.javac.util";
  /** Classes of script engines that were looked at. */
  private static final Set<Class<?>> engines = Collections.synchronizedSet(Collections.newSetFromMap(new WeakHashMap<>()));

  private static Instrumentation instrumentation;

  private CodeStart() {}

  static void install(Instrumentation given) {
    instrumentation = given;
    boolean evaluate = Words.level("evaluate") != 0;
    boolean imports = Words.level("imports") != 0;
    if (evaluate) {
      watch(CodeWatches.EVENT);
      watch(CodeWatches.EVALUATIONS);
    }
    if (evaluate || imports) {
      watch(CodeWatches.DEFINITIONS);
    }
  }

  private static void watch(List<Watches.Watched> all) {
    for (Watches.Watched watched : all) {
      watch(watched);
    }
  }

  private static void watch(Watches.Watched watched) {
    try {
      redefine(Class.forName(watched.type.replace('/', '.'), false, SYSTEM), watched.methods);
    } catch (ClassNotFoundException | LinkageError missing) {
      // A JVM without compiler, a client of another version, a runtime of the function's own.
    }
  }

  /** Watches the engine that is being made: its constructors are on the stack. */
  static void watchEngine() {
    List<Class<?>> made = new ArrayList<>();
    WALKER.forEach(
        frame -> {
          Class<?> type = frame.getDeclaringClass();
          if (frame.getMethodName().equals("<init>") && isEngine(type) && engines.add(type)) {
            made.add(type);
          }
        });
    for (Class<?> type : made) {
      redefine(type, evaluations(type));
    }
  }

  private static boolean isEngine(Class<?> type) {
    for (Class<?> above = type.getSuperclass(); above != null; above = above.getSuperclass()) {
      if (above.getName().equals("javax.script.AbstractScriptEngine")) {
        return true;
      }
    }
    return false;
  }

  private static List<Prefix.Call> evaluations(Class<?> type) {
    List<Prefix.Call> calls = new ArrayList<>();
    try {
      for (Method method : type.getDeclaredMethods()) {
        if (takesCode(method)) {
          calls.add(CodeWatches.evaluation(method.getName(), descriptor(method)));
        }
      }
    } catch (LinkageError missing) {
      // A class that names others which are not there.
    }
    return calls;
  }

  private static boolean takesCode(Method method) {
    Class<?>[] parameters = method.getParameterTypes();
    boolean named = method.getName().equals("eval") || method.getName().equals("compile");
    boolean first = parameters.length > 0 && (parameters[0] == String.class || parameters[0] == java.io.Reader.class);
    return named && first && (method.getModifiers() & (Modifier.STATIC | Modifier.ABSTRACT | Modifier.NATIVE)) == 0;
  }

  private static String descriptor(Method method) {
    StringBuilder text = new StringBuilder("(");
    for (Class<?> parameter : method.getParameterTypes()) {
      text.append(parameter.descriptorString());
    }
    return text.append(')').append(method.getReturnType().descriptorString()).toString();
  }

  /** The compiler takes what is thrown in it for a fault of its own, unless it is wrapped so. */
  static RuntimeException throughCompiler(RuntimeException denied) {
    try {
      Class<?> wrapper = Class.forName(COMPILER_EXCEPTIONS + ".PropagatedException", true, SYSTEM);
      return (RuntimeException) wrapper.getConstructor(RuntimeException.class).newInstance(denied);
    } catch (ReflectiveOperationException | LinkageError other) {
      return denied;
    }
  }

  private static void redefine(Class<?> type, List<Prefix.Call> calls) {
    if (calls.isEmpty()) {
      return;
    }
    try (InputStream stream = classFile(type)) {
      if (type.getModule().isNamed()) {
        // The hook's classes are in the boot loader's unnamed module, which not every module sees.
        Set<Module> ours = Set.of(CodeStart.class.getModule());
        boolean compiles = type.getModule().getPackages().contains(COMPILER_EXCEPTIONS);
        Map<String, Set<Module>> exports = compiles ? Map.of(COMPILER_EXCEPTIONS, ours) : Map.of();
        instrumentation.redefineModule(type.getModule(), ours, exports, Map.of(), Set.of(), Map.of());
      }
      byte[] patched = new Prefix(stream.readAllBytes(), calls).patched();
      instrumentation.redefineClasses(new ClassDefinition(type, patched));
    } catch (Exception | LinkageError fault) {
      // A form that is not understood: unwatched.
    }
  }

  private static InputStream classFile(Class<?> type) throws IOException {
    String name = type.getName().replace('.', '/') + ".class";
    return type.getModule().isNamed() ? type.getModule().getResourceAsStream(name) : type.getClassLoader().getResourceAsStream(name);
  }
}
