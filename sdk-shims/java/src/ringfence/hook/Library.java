package ringfence.hook;

import java.io.FileInputStream;
import java.io.IOException;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;

/**
 * Tells the preload library what this thread's scopes forbid, so that it holds in native code and in children too.
 *
 * <p>It decides nothing: {@link Limits} says what is forbidden. The library takes a request by raise(3) with a signal that no
 * kernel knows (sdk-shims/preload/src/scope.rs): of all system calls that Java's own native methods make, the one whose
 * argument is free and without effect where the library is not. Scopes then hold in front of the JDK's methods alone.
 */
final class Library {
  /** Marks a request; below it 26 bits of key, one for the whole process, three for what is forbidden. */
  private static final int REQUEST = 0x4000_0000;

  private static final int FOR_ALL = 8;
  private static final int KEY_BITS = 26;
  /** Also what carries virtual threads has many of them: a limit told for it would be another's. */
  private static final Class<?> VIRTUAL = find("java.lang.BaseVirtualThread");

  private static final Class<?> CARRIER = find("jdk.internal.misc.CarrierThread");

  private Library() {}

  /** Whether this JDK has virtual threads. */
  static boolean hasCarriers() {
    return CARRIER != null;
  }

  /** Makes the limits of the running thread these, and those of the threads made in it no stricter. */
  static void hold(int limits) {
    if (VIRTUAL == null || !VIRTUAL.isInstance(Thread.currentThread())) {
      ask(limits);
    }
  }

  /** Adds to the limits of the whole process, for good. */
  static void holdForAll(int limits) {
    if (limits != 0) {
      ask(FOR_ALL | limits);
    }
  }

  /** Frees a thread that has begun, where it is one that carries virtual threads: it began with its maker's limits. */
  static void free(Thread begun) {
    if (CARRIER != null && CARRIER.isInstance(begun)) {
      ask(0);
    }
  }

  private static void ask(int what) {
    try {
      Native.RAISE.invoke(null, REQUEST | Native.KEY << 4 | what);
    } catch (ReflectiveOperationException | LinkageError impossible) {
      // A JDK without it: the hook's own judgement stands.
    }
  }

  private static Class<?> find(String name) {
    try {
      return Class.forName(name, false, null);
    } catch (ClassNotFoundException older) {
      return null;
    }
  }

  /** What the first scope needs: until then it costs nothing. */
  private static final class Native {
    /** The library takes requests from whoever made the first one. */
    static final int KEY = key();

    static final Method RAISE = raise();

    /** Not by SecureRandom, which takes a hundred times as long to get ready. */
    private static int key() {
      byte[] bytes = new byte[Integer.BYTES];
      try (FileInputStream random = new FileInputStream("/dev/urandom")) {
        random.read(bytes);
      } catch (IOException none) {
        return 1;
      }
      return ByteBuffer.wrap(bytes).getInt() >>> Integer.SIZE - KEY_BITS;
    }

    private static Method raise() {
      try {
        Method method = Class.forName("jdk.internal.misc.Signal").getDeclaredMethod("raise0", int.class);
        method.setAccessible(true);
        return method;
      } catch (ReflectiveOperationException | RuntimeException impossible) {
        throw new LinkageError("raise0", impossible);
      }
    }
  }
}
