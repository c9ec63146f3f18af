package ringfence.hook;

import java.lang.ref.WeakReference;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Says whether text or bytes come from an event that is being handled.
 *
 * <p>It keeps the event as the runtime's client got it, the beginning of a large one, and compares: it follows no data, so what
 * was changed on the way is not known again. An event is taken apart when somebody first asks. Everything is bounded,
 * whatever the event holds. {@link Detections} asks.
 */
final class Taint {
  /** Shorter text stands in many places by chance. */
  private static final int SHORTEST = 8;

  private static final int MAX_VALUES = 4096;
  /** Bytes of an event that are kept, and characters of its values. */
  static final int MAX_TEXT = 1 << 20;
  /** Events at one time, each of a thread of the client's: under Managed Instances there are several. */
  private static final int MAX_EVENTS = 16;
  /** JSON within a string of JSON, as API Gateway sends it. */
  private static final int MAX_DEPTH = 2;

  private static final String CODE = "([{`'\"\\;";
  private static final String HEX = "0123456789abcdefABCDEF";
  private static final String BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=\r\n";

  private static final Map<Thread, Taint> events = new LinkedHashMap<>();

  /** The client's own array, which is its to forget. */
  private final WeakReference<byte[]> given;
  private final int size;
  private byte[] content;
  /** Values as text, those behind base64 and hex too; null until somebody asks. */
  private List<String> texts;
  /** Their bytes, one for each character. */
  private List<String> blobs;

  private int left = MAX_VALUES;
  private int room = MAX_TEXT;

  private Taint(byte[] given) {
    this.given = new WeakReference<>(given);
    this.size = given.length;
    this.content = given.length > MAX_TEXT ? Arrays.copyOf(given, MAX_TEXT) : given;
  }

  /** The running thread handles this event, and no other any more. */
  static synchronized void begin(byte[] event) {
    Thread thread = Thread.currentThread();
    Taint known = events.get(thread);
    if (known != null && known.given.refersTo(event)) {
      return;
    }
    if (known == null && events.size() >= MAX_EVENTS) {
      events.remove(events.keySet().iterator().next());
    }
    events.put(thread, new Taint(event));
  }

  /** Whether the text stands in an event, or a part of an event that reads like code stands in it. */
  static synchronized boolean isText(String text) {
    String trimmed = text.strip();
    if (trimmed.length() >= SHORTEST) {
      for (Taint event : events.values()) {
        if (event.hasText(trimmed)) {
          return true;
        }
      }
    }
    return false;
  }

  /** Whether the bytes stand in an event, as they are or encoded. */
  static synchronized boolean areBytes(byte[] bytes, int from, int length) {
    if (length < SHORTEST || events.isEmpty()) {
      return false;
    }
    for (Taint event : events.values()) {
      // The classes of every day are larger than most events, which then need not be taken apart.
      if (event.size > length && event.hasBytes(new String(bytes, from, length, StandardCharsets.ISO_8859_1))) {
        return true;
      }
    }
    return false;
  }

  private boolean hasBytes(String bytes) {
    for (String each : takenApart().blobs) {
      if (each.contains(bytes)) {
        return true;
      }
    }
    return false;
  }

  private boolean hasText(String text) {
    for (String value : takenApart().texts) {
      if (value.contains(text) || (text.contains(value) && readsLikeCode(value))) {
        return true;
      }
    }
    return false;
  }

  /** It calls, quotes or ends something: more than a word. */
  private static boolean readsLikeCode(String value) {
    boolean reads = value.contains("__");
    for (int at = 0; at < value.length() && !reads; at++) {
      reads = CODE.indexOf(value.charAt(at)) >= 0;
    }
    return reads;
  }

  private Taint takenApart() {
    if (texts == null) {
      texts = new ArrayList<>();
      blobs = new ArrayList<>();
      strings(new String(content, StandardCharsets.UTF_8), 0);
      content = null;
    }
    return this;
  }

  /** The strings in JSON, or in what looks like it, keys too. */
  private void strings(String json, int depth) {
    int at = json.indexOf('"');
    while (at >= 0 && left > 0 && room > 0) {
      StringBuilder value = new StringBuilder();
      at = string(json, at + 1, value);
      left--;
      if (value.length() >= SHORTEST) {
        keep(value.substring(0, Math.min(value.length(), room)), depth);
      }
      at = json.indexOf('"', at + 1);
    }
  }

  /** Reads a string up to its end, and says where that is. */
  private static int string(String json, int begun, StringBuilder value) {
    int at = begun;
    for (; at < json.length() && json.charAt(at) != '"'; at++) {
      char character = json.charAt(at);
      if (character == '\\' && ++at < json.length()) {
        character = json.charAt(at);
        int plain = "nrtbf".indexOf(character);
        if (plain >= 0) {
          character = "\n\r\t\b\f".charAt(plain);
        } else if (character == 'u' && at + 4 < json.length()) {
          character = (char) hexadecimal(json, at + 1);
          at += 4;
        }
      }
      value.append(character);
    }
    return at;
  }

  private static int hexadecimal(String text, int from) {
    int number = 0;
    for (int index = from; index < from + 4; index++) {
      number = number << 4 | Math.max(0, Character.digit(text.charAt(index), 16));
    }
    return number;
  }

  private void keep(String value, int depth) {
    room -= value.length();
    add(value, value.getBytes(StandardCharsets.UTF_8));
    byte[] decoded = decoded(value.strip());
    if (decoded != null) {
      add(new String(decoded, StandardCharsets.UTF_8), decoded);
    }
    char first = value.stripLeading().isEmpty() ? ' ' : value.stripLeading().charAt(0);
    if (depth < MAX_DEPTH && (first == '{' || first == '[' || first == '"')) {
      strings(value, depth + 1);
    }
  }

  private void add(String text, byte[] bytes) {
    texts.add(text);
    blobs.add(new String(bytes, StandardCharsets.ISO_8859_1));
  }

  /** What stands behind hex or base64, also URL-safe and with line breaks; null for other text. */
  private static byte[] decoded(String text) {
    try {
      if (text.length() % 2 == 0 && isOf(HEX, text)) {
        return HexFormat.of().parseHex(text);
      }
      return isOf(BASE64, text) ? Base64.getMimeDecoder().decode(text.replace('-', '+').replace('_', '/')) : null;
    } catch (IllegalArgumentException other) {
      return null;
    }
  }

  private static boolean isOf(String alphabet, String text) {
    for (int at = 0; at < text.length(); at++) {
      if (alphabet.indexOf(text.charAt(at)) < 0) {
        return false;
      }
    }
    return true;
  }
}
