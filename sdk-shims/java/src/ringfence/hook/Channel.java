package ringfence.hook;

import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.lang.reflect.Constructor;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * The way to the agent: a datagram socket that the launcher has connected and left open for us, and who we are.
 *
 * <p>Java has no AF_UNIX datagram sockets, but a write to one that is there sends a datagram. It never blocks (the socket
 * does not); what could not be sent is counted and told with the next message.
 */
final class Channel {
  private static int number;
  private static Path link;
  private static Path socket;
  private static int dropped;

  private Channel() {}

  /** Takes the descriptor over. False where it is no socket. */
  static boolean open(int descriptor) throws IOException {
    number = descriptor;
    link = Path.of("/proc/self/fd/" + descriptor);
    socket = Files.readSymbolicLink(link);
    return socket.toString().startsWith("socket:");
  }

  /** Sends the message, or drops it. */
  static synchronized void send(Message message) {
    try {
      // Native code may have closed every descriptor, and ours may be the number of another file since.
      if (!Files.readSymbolicLink(link).equals(socket)) {
        return;
      }
      if (dropped != 0) {
        message.number(Message.DROPPED, dropped);
      }
      Self.STREAM.write(message.buffer(), 0, message.length());
      dropped = 0;
    } catch (IOException full) {
      dropped++;
    }
  }

  static int process() {
    return Self.PROCESS;
  }

  static String executable() {
    return Self.EXECUTABLE;
  }

  /** The kernel's number of this thread; 0 where it is not known. */
  static int thread() {
    return number(Self.THREAD);
  }

  private static int number(Path link) {
    try {
      return Integer.parseInt(Files.readSymbolicLink(link).getFileName().toString());
    } catch (IOException | NumberFormatException unknown) {
      return 0;
    }
  }

  /** What the first message needs: until then it costs nothing. */
  private static final class Self {
    static final int PROCESS = number(Path.of("/proc/self"));
    static final Path THREAD = Path.of("/proc/thread-self");
    static final String EXECUTABLE = executable();
    static final FileOutputStream STREAM = stream();

    private static String executable() {
      try {
        return Files.readSymbolicLink(Path.of("/proc/self/exe")).toString();
      } catch (IOException unknown) {
        return "";
      }
    }

    private static FileOutputStream stream() {
      try {
        Constructor<FileDescriptor> make = FileDescriptor.class.getDeclaredConstructor(int.class);
        make.setAccessible(true);
        return new FileOutputStream(make.newInstance(number));
      } catch (ReflectiveOperationException impossible) {
        throw new IllegalStateException(impossible);
      }
    }
  }
}
