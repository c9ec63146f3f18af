package ringfence.hook;

import java.util.List;

/**
 * Which methods of the JDK call {@link Events} first, and with which of their arguments.
 *
 * <p>They lie as deep as Java goes, so every way there passes them: all classes of the library, of packages and of
 * other JVM languages. The same in Java 17 to 25. {@link Start} carries it out.
 */
final class Watches {
  /** A class and its watched methods. */
  static final class Watched {
    final String type;
    final List<Prefix.Call> methods;

    Watched(String type, Prefix.Call... methods) {
      this.type = type;
      this.methods = List.of(methods);
    }
  }

  private static final String EVENTS = "ringfence/hook/Events";
  private static final String TEXT = "(Ljava/lang/String;)V";
  private static final String PATH = "(Ljava/nio/file/Path;)V";
  private static final String FILE = "(Ljava/io/File;)V";

  /** What every function gets. */
  static final List<Watched> ALL =
      List.of(
          new Watched(
              "java/lang/ProcessImpl",
              call("start", "([Ljava/lang/String;Ljava/util/Map;", "started", "([Ljava/lang/String;)V", "a0")),
          new Watched(
              "sun/nio/ch/Net",
              call("connect", "(Ljava/net/ProtocolFamily;Ljava/io/FileDescriptor;Ljava/net/InetAddress;I)", "connected",
                  "(Ljava/net/InetAddress;I)V", "a2 i3"),
              call("bind", "(Ljava/net/ProtocolFamily;Ljava/io/FileDescriptor;Ljava/net/InetAddress;I)", "bound",
                  "(Ljava/net/InetAddress;I)V", "a2 i3")),
          new Watched(
              "sun/nio/ch/DatagramChannelImpl",
              call("send", "(Ljava/io/FileDescriptor;Ljava/nio/ByteBuffer;Ljava/net/InetSocketAddress;)", "sent",
                  "(Ljava/net/InetSocketAddress;)V", "a3")),
          new Watched(
              "java/net/InetAddress", call("getAllByName", "(Ljava/lang/String;)[", "resolved", TEXT, "a0")),
          new Watched("java/io/FileInputStream", call("open", "(Ljava/lang/String;)", "read", TEXT, "a1")),
          new Watched("java/io/FileOutputStream", call("open", "(Ljava/lang/String;Z)", "written", TEXT, "a1")),
          new Watched(
              "java/io/RandomAccessFile",
              call("open", "(Ljava/lang/String;I)", "opened", "(Ljava/lang/String;I)V", "a1 i2")),
          new Watched(
              "sun/nio/fs/UnixNativeDispatcher",
              call("open", "(Lsun/nio/fs/UnixPath;II)", "opened", "(Ljava/nio/file/Path;I)V", "a0 i1"),
              call("mkdir", "(Lsun/nio/fs/UnixPath;I)", "written", PATH, "a0"),
              call("rmdir", "(Lsun/nio/fs/UnixPath;)", "written", PATH, "a0"),
              call("unlink", "(Lsun/nio/fs/UnixPath;)", "written", PATH, "a0"),
              call("rename", "(Lsun/nio/fs/UnixPath;Lsun/nio/fs/UnixPath;)", "written",
                  "(Ljava/nio/file/Path;Ljava/nio/file/Path;)V", "a0 a1"),
              call("link", "(Lsun/nio/fs/UnixPath;Lsun/nio/fs/UnixPath;)", "written",
                  "(Ljava/nio/file/Path;Ljava/nio/file/Path;)V", "a0 a1"),
              call("symlink", "([BLsun/nio/fs/UnixPath;)", "written", PATH, "a1")),
          new Watched(
              "java/io/File",
              call("delete", "()Z", "written", FILE, "a0"),
              call("mkdir", "()Z", "written", FILE, "a0"),
              call("createNewFile", "()Z", "written", FILE, "a0"),
              call("renameTo", "(Ljava/io/File;)Z", "written", "(Ljava/io/File;Ljava/io/File;)V", "a0 a1")),
          new Watched(
              "java/lang/ProcessEnvironment$StringEnvironment",
              call("get", "(Ljava/lang/Object;)Ljava/lang/String;", "variable", "(Ljava/lang/Object;)Ljava/lang/Object;", "a1 =a1"),
              call("containsKey", "(Ljava/lang/Object;)", "presence", "(Ljava/lang/Object;)Ljava/lang/Object;", "a1 =a1"),
              call("entrySet", "()", "variables", "(Ljava/lang/Object;)V", "a0"),
              call("values", "()", "variables", "(Ljava/lang/Object;)V", "a0")),
          new Watched("java/lang/Runtime", call("load0", "(Ljava/lang/Class;Ljava/lang/String;)", "loaded", TEXT, "a2")),
          new Watched(
              "java/io/ObjectInputStream",
              call("resolveClass", "(Ljava/io/ObjectStreamClass;)", "restored", "(Ljava/io/ObjectStreamClass;)V", "a1")));

  /** Where the threads begin that carry virtual ones, in JDKs that have them (21). */
  static final Watched CARRIERS =
      new Watched("java/util/concurrent/ForkJoinWorkerThread", call("run", "()V", "begun", "()V", ""));

  private Watches() {}

  private static Prefix.Call call(String method, String descriptor, String event, String eventDescriptor, String given) {
    return new Prefix.Call(method, descriptor, EVENTS, event, eventDescriptor, given);
  }
}
