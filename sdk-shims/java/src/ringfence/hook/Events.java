package ringfence.hook;

import java.io.File;
import java.io.ObjectStreamClass;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import ringfence.Denied;

/**
 * What the watched methods of the JDK call first: says what is about to happen and at which line of the function's code.
 *
 * <p>The agent attaches a hint to a violation of the same thread or process, where one comes. Verdicts are not given here but
 * by {@link Limits}, where a scope is open: what it denies is thrown, and nothing else ever leaves these methods. They are
 * called on every thread and in the middle of the JDK's work: no lock is held while they look around.
 */
public final class Events {
  private static final int MAX_EXPECTED = 64;
  /** O_WRONLY, O_RDWR, O_CREAT, O_TRUNC of open(2). */
  private static final int WRITES = 01 | 02 | 0100 | 01000;
  /** The same of RandomAccessFile's own flags: all but O_RDONLY. */
  private static final int FILE_WRITES = ~1;

  /** Host → where the function asked for it, of the last ones: pools connect on threads of their own. */
  private static final Map<String, Place> expected = new HashMap<>();

  /** What the policy says on restoring objects: 0 nothing, 1 report, 2 deny. */
  private static final int RESTORING = Words.level("deserialize");

  /** Whether the policy asks where classes come from. */
  private static final boolean IMPORTS = Words.level("imports") != 0;

  private Events() {}

  /** A thread of a ForkJoinPool begins to run. */
  public static void begun() {
    try {
      Limits.begun();
    } catch (Throwable fault) {
      quiet(fault);
    }
  }

  /** A program is started. */
  public static void started(String[] command) {
    try {
      int level = Limits.level(Limits.CHILDREN);
      Message message = begin(level, Limits.CHILDREN, Message.EXEC);
      message.text(Message.PATH, command.length > 0 ? command[0] : "");
      for (int index = 0; index < command.length && index < Message.MAX_ARGUMENTS; index++) {
        message.text(Message.ARGUMENT, command[index]);
      }
      Place place = Place.here();
      if (level == 0 && !place.asker.isEmpty()) {
        message.text(Message.DETAIL, "asked for by the package " + place.asker);
      }
      end(message, place, level, Limits.CHILDREN);
    } catch (Throwable fault) {
      quiet(fault);
    }
  }

  /** A stream or a datagram socket is connected. */
  public static void connected(InetAddress address, int port) {
    towards(Message.CONNECT, address, port);
  }

  /** A datagram is sent; without a target the socket is connected. */
  public static void sent(InetSocketAddress target) {
    if (target != null) {
      towards(Message.SEND, target.getAddress(), target.getPort());
    }
  }

  private static void towards(int action, InetAddress address, int port) {
    try {
      int level = address.isLoopbackAddress() ? 0 : Limits.level(Limits.EGRESS);
      Message message = begin(level, Limits.EGRESS, action).address(address, port);
      end(message, whereFor(address), level, Limits.EGRESS);
    } catch (Throwable fault) {
      quiet(fault);
    }
  }

  /** A local address is bound. A client's port that the system chooses is no listener. */
  public static void bound(InetAddress address, int port) {
    try {
      if (port != 0) {
        Channel.send(new Message(Message.HINT, Message.BIND).address(address, port).place(Place.here()));
      }
    } catch (Throwable fault) {
      quiet(fault);
    }
  }

  /** A name is looked up. */
  public static void resolved(String host) {
    try {
      if (host == null || host.isEmpty() || isAddress(host)) {
        return;
      }
      Place place = Place.here();
      if (place.own) {
        keep(host, place);
      } else {
        place = kept(host, place);
      }
      int level = host.equals("localhost") ? 0 : Limits.level(Limits.EGRESS);
      end(begin(level, Limits.EGRESS, Message.RESOLVE).text(Message.NAME, host), place, level, Limits.EGRESS);
    } catch (Throwable fault) {
      quiet(fault);
    }
  }

  /** A file is opened for reading. */
  public static void read(String path) {
    file(path, true);
  }

  /** A file is opened with flags of RandomAccessFile. */
  public static void opened(String path, int flags) {
    file(path, (flags & FILE_WRITES) == 0);
  }

  /** A file is opened with flags of open(2). */
  public static void opened(Path path, int flags) {
    file(path.toString(), (flags & WRITES) == 0);
  }

  /** A file is created or changed. */
  public static void written(String path) {
    file(path, false);
  }

  /** As above. */
  public static void written(Path path) {
    file(path.toString(), false);
  }

  /** As above, of two. */
  public static void written(Path one, Path other) {
    file(one.toString(), false);
    file(other.toString(), false);
  }

  /** As above. */
  public static void written(File file) {
    file(file.getPath(), false);
  }

  /** As above, of two. */
  public static void written(File one, File other) {
    file(one.getPath(), false);
    if (other != null) {
      file(other.getPath(), false);
    }
  }

  private static void file(String path, boolean reads) {
    try {
      if (IMPORTS && reads) {
        Detections.opened(path);
      }
      if (!Limits.judgesFiles()) {
        if (reads && path.startsWith("/proc/")) {
          Channel.send(new Message(Message.HINT, Message.OPEN_READ).text(Message.PATH, path).place(Place.here()));
        }
        return;
      }
      Limits.OfFile limit = Limits.of(path);
      if (limit.level != 0 && !(limit.what == Limits.FILES && Place.isClassLoading())) {
        Message message = begin(limit.level, limit.what, reads ? Message.OPEN_READ : Message.OPEN_WRITE);
        end(message.text(Message.PATH, path), Place.here(), limit.level, limit.what);
      }
    } catch (Throwable fault) {
      quiet(fault);
    }
  }

  /** A variable is read of an environment; gives the name to go on with, which stands for none where that is denied. */
  public static Object variable(Object name) {
    try {
      if (name instanceof String && Reads.isWatched((String) name) && !Reads.gives((String) name)) {
        return "";
      }
    } catch (Throwable fault) {
      quiet(fault);
    }
    return name;
  }

  /** Whether a variable is there is asked. */
  public static Object presence(Object name) {
    try {
      if (name instanceof String && Reads.isWatched((String) name) && !Reads.givesQuietly()) {
        return "";
      }
    } catch (Throwable fault) {
      quiet(fault);
    }
    return name;
  }

  /** All variables of an environment are read. */
  public static void variables(Object environment) {
    try {
      if (!Reads.givesAll()) {
        Reads.takeFrom((Map<?, ?>) environment);
      }
    } catch (Throwable fault) {
      quiet(fault);
    }
  }

  /** A native library is loaded. */
  public static void loaded(String path) {
    try {
      Channel.send(new Message(Message.HINT, Message.MAP_EXECUTABLE).text(Message.PATH, path).place(Place.here()));
    } catch (Throwable fault) {
      quiet(fault);
    }
  }

  /** A class is named by serialised data. */
  public static void restored(ObjectStreamClass described) {
    try {
      if (RESTORING == 0 || Classes.isHarmless(described.getName())) {
        return;
      }
      int outcome = RESTORING == Limits.DENY ? Message.BLOCKED : Message.REPORTED;
      Message message = new Message(Message.VIOLATION, Message.DESERIALIZE);
      message.verdict(outcome, Message.RULE_CODE_DESERIALIZE).text(Message.NAME, described.getName());
      Channel.send(message.place(Place.here()));
      if (RESTORING == Limits.DENY) {
        throw new Denied("ringfence: the policy denies restoring " + described.getName() + " (code.deserialize)");
      }
    } catch (Throwable fault) {
      quiet(fault);
    }
  }

  /** Begins a hint, or the violation of a scope. */
  private static Message begin(int level, int what, int action) {
    if (level == 0) {
      return new Message(Message.HINT, action);
    }
    Message message = new Message(Message.VIOLATION, action);
    message.verdict(level == Limits.DENY ? Message.BLOCKED : Message.REPORTED, Limits.rule(what));
    return message.text(Message.DETAIL, "by a scope of the function (" + Limits.word(what) + ")");
  }

  /** Sends it, and throws what a scope denies. */
  private static void end(Message message, Place place, int level, int what) {
    Channel.send(message.place(place));
    if (level == Limits.DENY) {
      throw new Denied("ringfence: denied by " + Limits.word(what) + "=deny of a scope");
    }
  }

  /** The best that is known about who wants this address. */
  private static Place whereFor(InetAddress address) {
    Place place = Place.here();
    if (place.own) {
      return place;
    }
    String text = address.toString();
    int name = text.indexOf('/');
    return name > 0 ? kept(text.substring(0, name), place) : place;
  }

  private static void keep(String host, Place place) {
    synchronized (expected) {
      if (expected.size() >= MAX_EXPECTED) {
        expected.clear();
      }
      expected.put(host, place);
    }
  }

  private static Place kept(String host, Place otherwise) {
    synchronized (expected) {
      return expected.getOrDefault(host, otherwise);
    }
  }

  /** Whether a host is written as an address, so that nothing is looked up. */
  private static boolean isAddress(String host) {
    for (int index = 0; index < host.length(); index++) {
      char character = host.charAt(index);
      if (character == ':') {
        return true;
      }
      if (character != '.' && (character < '0' || character > '9')) {
        return false;
      }
    }
    return true;
  }

  /** Lets out what a scope or the policy denies, and nothing else: what cannot be said is not said. */
  private static void quiet(Throwable fault) {
    if (fault instanceof Denied) {
      throw (Denied) fault;
    }
  }
}
