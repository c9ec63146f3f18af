package ringfence.hook;

import java.io.InputStream;
import java.lang.instrument.ClassDefinition;
import java.lang.instrument.Instrumentation;
import java.util.ArrayList;
import java.util.List;

/**
 * Puts the watches into the JDK, once, before the function's code is loaded.
 *
 * <p>It redefines the few classes of {@link Watches} and leaves no transformer behind, so that loading a class costs what it
 * did before, and a later agent starts from our form of them. What happens at a watch is {@link Events}' business.
 */
public final class Start {
  private static volatile boolean complete;

  private Start() {}

  /** Installs everything, or as much as this JDK has; true where there is a way to the agent. */
  public static boolean install(Instrumentation instrumentation, int descriptor) throws Exception {
    if (!Channel.open(descriptor)) {
      return false;
    }
    // Read before reads of the environment are watched.
    boolean code = Words.any();
    List<ClassDefinition> definitions = new ArrayList<>();
    boolean all = true;
    for (Watches.Watched watched : Watches.ALL) {
      all &= define(watched, definitions);
    }
    if (Library.hasCarriers()) {
      all &= define(Watches.CARRIERS, definitions);
    }
    instrumentation.redefineClasses(definitions.toArray(new ClassDefinition[0]));
    complete = all;
    if (code) {
      CodeStart.install(instrumentation);
    }
    sayWhatServes();
    return true;
  }

  /** Tells the agent what is in place: it claims only that. */
  private static void sayWhatServes() {
    StringBuilder served = new StringBuilder("reads");
    for (String key : new String[] {"evaluate", "deserialize", "imports"}) {
      if (Words.level(key) != 0) {
        served.append(',').append(key);
      }
    }
    Channel.send(Message.hookUp(served.toString()));
  }

  /** Whether every watch is in place: scopes must not seem to hold where one is missing. */
  public static boolean isComplete() {
    return complete;
  }

  private static boolean define(Watches.Watched watched, List<ClassDefinition> definitions) {
    try {
      Class<?> found = Class.forName(watched.type.replace('/', '.'), false, null);
      try (InputStream stream = Object.class.getModule().getResourceAsStream(watched.type + ".class")) {
        Prefix prefix = new Prefix(stream.readAllBytes(), watched.methods);
        definitions.add(new ClassDefinition(found, prefix.patched()));
        return prefix.patchedAll();
      }
    } catch (Exception fault) {
      // A JDK that has no such class or another form of it: the others still stand.
      return false;
    }
  }
}
