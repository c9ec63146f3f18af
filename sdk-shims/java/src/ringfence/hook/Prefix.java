package ringfence.hook;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;

/**
 * Puts a call in front of methods of a class file (JVM specification, chapter 4), and changes nothing else of it.
 *
 * <p>Jumps are relative, so code moves as it is, by a multiple of four bytes for the sake of the switches' padding. What names
 * places in the code moves along: exception table, line numbers, local variables, stack maps. It knows nothing of what
 * is called. {@link Start} uses it; a library that can do more would cost more than the rest of the start.
 */
public final class Prefix {
  /** A method and the call that goes in front of it. */
  public static final class Call {
    final String method;
    /** How the method's descriptor begins. */
    final String descriptor;
    final String type;
    final String event;
    final String eventDescriptor;
    /** The local variables that are passed, {@code "a0 i3"}, and the one that takes what comes back: {@code "a1 =a1"}. */
    final String given;

    public Call(String method, String descriptor, String type, String event, String eventDescriptor, String given) {
      this.method = method;
      this.descriptor = descriptor;
      this.type = type;
      this.event = event;
      this.eventDescriptor = eventDescriptor;
      this.given = given;
    }
  }

  private static final int UTF8 = 1;
  private static final int CLASS = 7;
  private static final int METHOD = 10;
  private static final int NAME_AND_TYPE = 12;
  private static final int ALOAD = 0x19;
  private static final int ASTORE = 0x3a;
  private static final int ILOAD = 0x15;
  private static final int INVOKESTATIC = 0xb8;
  /** Entries that one call adds to the constant pool. */
  private static final int ENTRIES = 6;
  private static final int MAX_CODE = 65_535;

  private final byte[] in;
  private final List<Call> calls;
  private final boolean[] done;
  private byte[] out;
  private int at;
  private int used;
  /** Where each entry of the constant pool begins. */
  private int[] pool;

  public Prefix(byte[] bytes, List<Call> calls) {
    this.in = bytes;
    this.calls = calls;
    this.done = new boolean[calls.size()];
    this.out = new byte[bytes.length + 1024];
  }

  /** The class with the calls. */
  public byte[] patched() {
    copy(8);
    int count = u2(at);
    readPool(count);
    put2(count + ENTRIES * calls.size());
    at += 2;
    copy(poolEnd(count) - at);
    for (int index = 0; index < calls.size(); index++) {
      addEntries(calls.get(index), count + ENTRIES * index);
    }
    copy(6);
    int interfaces = u2(at);
    copy(2 + 2 * interfaces);
    for (int fields = counted(); fields > 0; fields--) {
      copy(6);
      copyAttributes();
    }
    for (int methods = counted(); methods > 0; methods--) {
      method(count);
    }
    copy(in.length - at);
    return Arrays.copyOf(out, used);
  }

  /** Whether each method was there. */
  public boolean patchedAll() {
    for (boolean one : done) {
      if (!one) {
        return false;
      }
    }
    return true;
  }

  private void readPool(int count) {
    pool = new int[count + 1];
    int place = at + 2;
    for (int index = 1; index < count; index++) {
      pool[index] = place;
      int tag = in[place];
      place += 1 + entryLength(tag, place);
      if (tag == 5 || tag == 6) {
        // Long and Double take two indices.
        pool[++index] = place;
      }
    }
    pool[count] = place;
  }

  private int poolEnd(int count) {
    return pool[count];
  }

  private int entryLength(int tag, int place) {
    switch (tag) {
      case UTF8:
        return 2 + u2(place + 1);
      case 5: // Long
      case 6: // Double
        return 8;
      case CLASS:
      case 8: // String
      case 16: // MethodType
      case 19: // Module
      case 20: // Package
        return 2;
      case 15: // MethodHandle
        return 3;
      default:
        return 4;
    }
  }

  private void addEntries(Call call, int first) {
    putText(call.type);
    put1(CLASS);
    put2(first);
    putText(call.event);
    putText(call.eventDescriptor);
    put1(NAME_AND_TYPE);
    put2(first + 2);
    put2(first + 3);
    put1(METHOD);
    put2(first + 1);
    put2(first + 4);
  }

  private void method(int count) {
    String name = text(u2(at + 2));
    String descriptor = text(u2(at + 4));
    copy(6);
    int index = find(name, descriptor);
    int attributes = counted();
    for (; attributes > 0; attributes--) {
      if (index >= 0 && text(u2(at)).equals("Code")) {
        code(calls.get(index), count + ENTRIES * index + ENTRIES - 1);
        done[index] = true;
      } else {
        copy(6 + u4(at + 2));
      }
    }
  }

  private int find(String name, String descriptor) {
    for (int index = 0; index < calls.size(); index++) {
      Call call = calls.get(index);
      if (call.method.equals(name) && descriptor.startsWith(call.descriptor)) {
        return index;
      }
    }
    return -1;
  }

  private void code(Call call, int reference) {
    copy(2);
    int length = used;
    put4(0);
    int end = at + 4 + u4(at);
    at += 4;
    String[] given = call.given.isEmpty() ? new String[0] : call.given.split(" ");
    put2(Math.max(u2(at), given.length));
    at += 2;
    copy(2);
    int size = u4(at);
    int added = (2 * given.length + 3 + 3) / 4 * 4;
    if (size + added > MAX_CODE) {
      throw new IllegalArgumentException("no room");
    }
    put4(size + added);
    at += 4;
    prefix(given, reference, added);
    copy(size);
    for (int handlers = counted(); handlers > 0; handlers--) {
      shifted(added);
      shifted(added);
      shifted(added);
      copy(2);
    }
    for (int attributes = counted(); attributes > 0; attributes--) {
      codeAttribute(added);
    }
    if (at != end) {
      throw new IllegalArgumentException("not understood");
    }
    set4(length, used - length - 4);
  }

  private void prefix(String[] given, int reference, int added) {
    int begun = used;
    String taken = null;
    for (String one : given) {
      if (one.charAt(0) == '=') {
        taken = one;
        continue;
      }
      put1(one.charAt(0) == 'a' ? ALOAD : ILOAD);
      put1(one.charAt(1) - '0');
    }
    put1(INVOKESTATIC);
    put2(reference);
    if (taken != null) {
      put1(ASTORE);
      put1(taken.charAt(2) - '0');
    }
    while (used < begun + added) {
      put1(0);
    }
  }

  private void codeAttribute(int added) {
    String name = text(u2(at));
    int length = u4(at + 2);
    switch (name) {
      case "LineNumberTable":
        lines(added);
        break;
      case "LocalVariableTable":
      case "LocalVariableTypeTable":
        table(added, 8);
        break;
      case "StackMapTable":
        stackMaps(added);
        break;
      default:
        copy(6 + length);
    }
  }

  /** The added code is of the first line. */
  private void lines(int added) {
    copy(6);
    for (int entries = counted(); entries > 0; entries--) {
      shifted(u2(at) == 0 ? 0 : added);
      copy(2);
    }
  }

  /** Entries that begin with a place in the code. */
  private void table(int added, int rest) {
    copy(6);
    for (int entries = counted(); entries > 0; entries--) {
      shifted(added);
      copy(rest);
    }
  }

  private void stackMaps(int added) {
    copy(2);
    int length = used;
    put4(0);
    at += 4;
    int entries = counted();
    for (int entry = 0; entry < entries; entry++) {
      // Each place is told as the distance from the one before, so only the first moves.
      frame(entry == 0 ? added : 0, added);
    }
    set4(length, used - length - 4);
  }

  private void frame(int moved, int added) {
    int type = in[at++] & 255;
    if (type < 64) {
      same(type + moved);
    } else if (type < 128) {
      sameWithOne(type - 64 + moved, added);
    } else {
      put1(type);
      shifted(moved);
      if (type == 247) {
        types(1, added);
      } else if (type == 255) {
        types(counted(), added);
        types(counted(), added);
      } else if (type > 251) {
        types(type - 251, added);
      }
    }
  }

  private void same(int distance) {
    if (distance < 64) {
      put1(distance);
    } else {
      put1(251);
      put2(distance);
    }
  }

  private void sameWithOne(int distance, int added) {
    if (distance < 64) {
      put1(64 + distance);
    } else {
      put1(247);
      put2(distance);
    }
    types(1, added);
  }

  private void types(int count, int added) {
    for (int index = 0; index < count; index++) {
      int tag = in[at];
      copy(1);
      if (tag == 7) {
        copy(2);
      } else if (tag == 8) {
        // An object that `new` at this place made.
        shifted(added);
      }
    }
  }

  private void copyAttributes() {
    for (int attributes = counted(); attributes > 0; attributes--) {
      copy(6 + u4(at + 2));
    }
  }

  /** Copies a count and gives it. */
  private int counted() {
    int count = u2(at);
    copy(2);
    return count;
  }

  private void shifted(int by) {
    put2(u2(at) + by);
    at += 2;
  }

  private String text(int index) {
    int place = pool[index];
    return new String(in, place + 3, u2(place + 1), StandardCharsets.UTF_8);
  }

  private int u2(int place) {
    return (in[place] & 255) << 8 | in[place + 1] & 255;
  }

  private int u4(int place) {
    return u2(place) << 16 | u2(place + 2);
  }

  private void copy(int count) {
    if (count < 0 || count > in.length - at) {
      throw new IllegalArgumentException("cut short");
    }
    room(count);
    System.arraycopy(in, at, out, used, count);
    at += count;
    used += count;
  }

  private void room(int count) {
    if (used + count > out.length) {
      out = Arrays.copyOf(out, Math.max(2 * out.length, used + count));
    }
  }

  private void put1(int value) {
    room(1);
    out[used++] = (byte) value;
  }

  private void put2(int value) {
    put1(value >> 8);
    put1(value);
  }

  private void put4(int value) {
    put2(value >> 16);
    put2(value);
  }

  private void set4(int place, int value) {
    for (int index = 0; index < 4; index++) {
      out[place + index] = (byte) (value >> 24 - 8 * index);
    }
  }

  private void putText(String text) {
    put1(UTF8);
    put2(text.length());
    for (int index = 0; index < text.length(); index++) {
      put1(text.charAt(index));
    }
  }
}
