package ringfence.hook;

import java.io.IOException;
import java.io.Reader;
import java.lang.reflect.Field;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.CodeSource;
import java.security.ProtectionDomain;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.Map;
import java.util.Set;
import ringfence.Denied;

/**
 * Decides what {@code code.evaluate} and {@code code.imports} say of code that is made of data, writes it down, and throws
 * where they deny.
 *
 * <p>{@link CodeWatches} says what calls it, and that only where the policy has the key. It judges what code of the function
 * and its libraries does with data; code that is hostile already can take it apart. It runs in the middle of class loading, so
 * it has no lambda, which would define classes of its own.
 */
public final class Detections {
  private static final int EVALUATE = Words.level("evaluate");
  private static final int IMPORTS = Words.level("imports");
  /** Nanoseconds in which the same finding at the same place is not reported again. */
  private static final long QUIET = 1_000_000_000L;

  private static final int MAX_REMEMBERED = 64;
  private static final Path TMP = Path.of("/tmp");
  private static final Path SHARED_MEMORY = Path.of("/dev/shm");

  /** Where classes come from → whether that is a writable place. */
  private static final Map<String, Boolean> sources = new HashMap<>();
  /** Files there that were opened lately: their bytes may come by as a class. */
  private static final Set<String> opened = new LinkedHashSet<>();

  private static final Map<String, Long> reported = new HashMap<>();
  private static Field content;

  private Detections() {}

  /** The runtime's client hands an event out. */
  public static void event(Object request) {
    try {
      if (content == null) {
        Field field = request.getClass().getDeclaredField("content");
        field.setAccessible(true);
        content = field;
      }
      Taint.begin((byte[]) content.get(request));
    } catch (Throwable fault) {
      // A client of another form: its events are not known again.
    }
  }

  /** A script engine is made. */
  public static void engine() {
    try {
      CodeStart.watchEngine();
    } catch (Throwable fault) {
      quiet(fault);
    }
  }

  /** A script engine is given text, or what gives it. */
  public static void evaluated(Object source) {
    try {
      String text = source instanceof Reader ? ahead((Reader) source) : (String) source;
      judge(text, "ScriptEngine", "text from the event as a script");
    } catch (Throwable fault) {
      quiet(fault);
    }
  }

  /** The compiler is given text. */
  public static void compiled(CharSequence source) {
    try {
      judge(source.subSequence(0, Math.min(source.length(), Taint.MAX_TEXT)).toString(), "JavaCompiler", "text from the event as Java");
    } catch (Denied denied) {
      throw CodeStart.throughCompiler(denied);
    } catch (Throwable fault) {
      quiet(fault);
    }
  }

  private static void judge(String text, String name, String what) {
    if (text != null && Taint.isText(text)) {
      Message message = new Message(Message.VIOLATION, Message.EVALUATE).text(Message.NAME, name);
      tell(message, EVALUATE, Message.RULE_CODE_EVALUATE, "evaluate", name, what, "the text stands in the event");
    }
  }

  /** What a reader will give, where it can be looked at without taking it: StringReader, BufferedReader, CharArrayReader. */
  private static String ahead(Reader reader) throws IOException {
    if (!reader.markSupported()) {
      return null;
    }
    char[] text = new char[Taint.MAX_TEXT];
    reader.mark(text.length + 1);
    int used = 0;
    for (int read = 0; read >= 0 && used < text.length; used += Math.max(0, read)) {
      read = reader.read(text, used, text.length - used);
    }
    reader.reset();
    return new String(text, 0, used);
  }

  /** A class loader defines a class. */
  public static void defined(byte[] bytes, int from, int length, ProtectionDomain domain) {
    try {
      String source = source(domain);
      if (IMPORTS != 0 && source != null && isWritable(source)) {
        imported(source);
      } else if (bytes != null && from >= 0 && length >= 0 && length <= bytes.length - from) {
        data(bytes, from, length, source == null);
      }
    } catch (Throwable fault) {
      quiet(fault);
    }
  }

  /** As above. */
  public static void defined(ByteBuffer buffer, ProtectionDomain domain) {
    try {
      byte[] bytes = new byte[buffer.remaining()];
      buffer.duplicate().get(bytes);
      defined(bytes, 0, bytes.length, domain);
    } catch (Throwable fault) {
      quiet(fault);
    }
  }

  /** A class is defined beside one that is there. */
  public static void defined(byte[] bytes) {
    if (bytes != null) {
      defined(bytes, 0, bytes.length, null);
    }
  }

  private static void data(byte[] bytes, int from, int length, boolean nowhere) {
    if (EVALUATE != 0 && Taint.areBytes(bytes, from, length)) {
      Message message = new Message(Message.VIOLATION, Message.EVALUATE).text(Message.NAME, "defineClass");
      String detail = "the bytes stand in the event";
      tell(message, EVALUATE, Message.RULE_CODE_EVALUATE, "evaluate", "defineClass", "a class from the event", detail);
    }
    String file = IMPORTS != 0 && nowhere ? file(bytes, from, length) : null;
    if (file != null) {
      imported(file);
    }
  }

  private static void imported(String path) {
    Message message = new Message(Message.VIOLATION, Message.IMPORT).text(Message.PATH, path);
    tell(message, IMPORTS, Message.RULE_CODE_IMPORTS, "imports", path, path, "");
  }

  /** A file is opened for reading. */
  static void opened(String path) {
    if (path.startsWith("/tmp/") || path.startsWith("/dev/shm/")) {
      synchronized (opened) {
        if (opened.size() >= MAX_REMEMBERED) {
          opened.remove(opened.iterator().next());
        }
        opened.add(path);
      }
    }
  }

  /** The file in a writable place, opened lately, whose bytes these are. */
  private static String file(byte[] bytes, int from, int length) {
    String[] paths;
    synchronized (opened) {
      paths = opened.toArray(new String[0]);
    }
    for (String path : paths) {
      try {
        if (Files.size(Path.of(path)) == length && isContent(path, bytes, from, length)) {
          return path;
        }
      } catch (IOException | SecurityException gone) {
        // Not this one.
      }
    }
    return null;
  }

  private static boolean isContent(String path, byte[] bytes, int from, int length) throws IOException {
    byte[] there = Files.readAllBytes(Path.of(path));
    return Arrays.equals(there, 0, there.length, bytes, from, from + length);
  }

  /** The file or folder that a class comes from; null where its loader does not say. */
  private static String source(ProtectionDomain domain) {
    CodeSource source = domain == null ? null : domain.getCodeSource();
    if (source == null || source.getLocation() == null) {
      return null;
    }
    // file:/tmp/x.jar, and jar:file:/tmp/x.jar!/BOOT-INF/y.jar!/ of nested jars.
    String text = source.getLocation().getPath();
    String file = text.startsWith("file:") ? text.substring("file:".length()) : text;
    int inner = file.indexOf("!/");
    return inner < 0 ? file : file.substring(0, inner);
  }

  private static boolean isWritable(String source) {
    synchronized (sources) {
      if (sources.size() >= MAX_REMEMBERED) {
        sources.clear();
      }
      Boolean known = sources.get(source);
      if (known == null) {
        known = leadsToWritable(source);
        sources.put(source, known);
      }
      return known;
    }
  }

  private static boolean leadsToWritable(String source) {
    Path path = Path.of(source).normalize();
    try {
      path = path.toRealPath();
    } catch (IOException gone) {
      // By its name.
    }
    return path.startsWith(TMP) || path.startsWith(SHARED_MEMORY);
  }

  private static void tell(Message message, int level, int rule, String key, String name, String what, String detail) {
    message.verdict(level == Limits.DENY ? Message.BLOCKED : Message.REPORTED, rule);
    if (!detail.isEmpty()) {
      message.text(Message.DETAIL, detail);
    }
    Place place = Place.here();
    if (level == Limits.DENY || isNew(key + " " + name + " " + place.code + place.frames)) {
      Channel.send(message.place(place));
    }
    if (level == Limits.DENY) {
      throw new Denied("ringfence: the policy denies " + what + " (code." + key + ")");
    }
  }

  private static boolean isNew(String finding) {
    synchronized (reported) {
      long now = System.nanoTime();
      Long last = reported.get(finding);
      if (last != null && now - last < QUIET) {
        return false;
      }
      if (reported.size() >= MAX_REMEMBERED) {
        reported.clear();
      }
      reported.put(finding, now);
      return true;
    }
  }

  /** Lets out what the policy denies, and nothing else. */
  private static void quiet(Throwable fault) {
    if (fault instanceof Denied) {
      throw (Denied) fault;
    }
  }
}
