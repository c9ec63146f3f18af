package example;

import java.io.InputStream;
import java.lang.instrument.ClassDefinition;
import java.lang.instrument.Instrumentation;
import java.lang.reflect.Executable;
import java.lang.reflect.Modifier;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Stream;
import ringfence.hook.Prefix;

/**
 * Puts a harmless call in front of every method of every class of the JDK that is loaded, and goes on working with them: the
 * JVM verifies each. Then feeds garbage to what does it: whatever it is given, it ends.
 */
public final class Everywhere {
  /** The call itself, and what the JVM forbids to touch while it is at it. */
  private static final Set<String> EXCEPT = Set.of("java.lang.Thread", "java.lang.Object");

  private static int redefined;
  private static final List<byte[]> SOME = new ArrayList<>();

  private Everywhere() {}

  public static void premain(String arguments, Instrumentation instrumentation) throws Exception {
    List<ClassDefinition> definitions = new ArrayList<>();
    for (Class<?> type : instrumentation.getAllLoadedClasses()) {
      byte[] bytes = classFile(type);
      if (bytes != null && instrumentation.isModifiableClass(type)) {
        definitions.add(new ClassDefinition(type, everywhere(type, bytes)));
        SOME.add(bytes);
      }
    }
    instrumentation.redefineClasses(definitions.toArray(new ClassDefinition[0]));
    redefined = definitions.size();
  }

  public static void main(String[] arguments) throws Exception {
    System.out.println(redefined > 100 ? "redefined" : "only " + redefined);
    System.out.println(work());
    garbage();
    System.out.println("ended");
  }

  private static byte[] classFile(Class<?> type) throws Exception {
    if (type.isArray() || type.isHidden() || type.getModule() != Object.class.getModule() || EXCEPT.contains(type.getName())) {
      return null;
    }
    try (InputStream stream = Object.class.getModule().getResourceAsStream(type.getName().replace('.', '/') + ".class")) {
      return stream == null ? null : stream.readAllBytes();
    }
  }

  private static byte[] everywhere(Class<?> type, byte[] bytes) {
    Set<String> names = new TreeSet<>();
    List<Executable> all = new ArrayList<>(Arrays.asList(type.getDeclaredMethods()));
    all.stream().filter(method -> !Modifier.isNative(method.getModifiers())).forEach(method -> names.add(method.getName()));
    names.add("<init>");
    List<Prefix.Call> calls = new ArrayList<>();
    names.forEach(name -> calls.add(new Prefix.Call(name, "(", "java/lang/Thread", "onSpinWait", "()V", "")));
    return new Prefix(bytes, calls).patched();
  }

  /** Something of everything: streams, formatting, files, exceptions, switches over strings. */
  private static String work() throws Exception {
    Path file = Files.createTempFile("ringfence", null);
    try (Stream<String> lines = Stream.of("banana", "apple")) {
      Files.write(file, (Iterable<String>) lines.sorted().map(String::toUpperCase)::iterator);
      return String.format("%s %05.1f", Files.readAllLines(file), Math.PI);
    } finally {
      Files.delete(file);
    }
  }

  private static void garbage() {
    Random random = new Random(1);
    for (int round = 0; round < 20_000; round++) {
      byte[] whole = SOME.get(round % SOME.size());
      byte[] bytes = Arrays.copyOf(whole, random.nextInt(4) == 0 ? random.nextInt(whole.length) : whole.length);
      for (int changes = random.nextInt(10); changes > 0 && bytes.length > 0; changes--) {
        bytes[random.nextInt(bytes.length)] = (byte) random.nextInt();
      }
      try {
        new Prefix(bytes, List.of(new Prefix.Call("<init>", "(", "x", "y", "()V", "a0"))).patched();
      } catch (RuntimeException expected) {
        // No class file any more.
      }
    }
  }
}
