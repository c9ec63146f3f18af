package ringfence.hook;

import java.net.Inet4Address;
import java.net.InetAddress;
import java.nio.charset.StandardCharsets;

/**
 * One message to the agent, encoded as extension/records/src/wire.rs and message.rs define it.
 *
 * <p>It decides nothing. Texts are cut to the limits that the agent's side has, so a message always fits one datagram.
 */
final class Message {
  static final int VIOLATION = 1;
  static final int HINT = 2;
  static final int HOOK_UP = 6;

  static final int EXEC = 1;
  static final int MAP_EXECUTABLE = 2;
  static final int CONNECT = 3;
  static final int SEND = 4;
  static final int RESOLVE = 5;
  static final int BIND = 6;
  static final int OPEN_READ = 7;
  static final int OPEN_WRITE = 8;
  static final int READ_CREDENTIAL = 9;
  static final int EVALUATE = 14;
  static final int DESERIALIZE = 15;
  static final int IMPORT = 17;

  static final int PID = 1;
  static final int THREAD = 3;
  static final int ACTION = 4;
  static final int OUTCOME = 5;
  static final int RULE = 6;
  static final int PLANE = 7;
  static final int PATH = 8;
  static final int ARGUMENT = 9;
  static final int ADDRESS = 10;
  static final int NAME = 11;
  static final int EXE = 12;
  static final int CODE = 13;
  static final int FRAME = 14;
  static final int DETAIL = 16;
  static final int DROPPED = 17;

  static final int RULE_PROCESS_ALLOW = 1;
  static final int RULE_EGRESS_ALLOW = 9;
  static final int RULE_TMP_WRITES = 15;
  static final int RULE_FILES_DENY_READ = 18;
  static final int RULE_CREDENTIALS_READS = 21;
  static final int RULE_CODE_EVALUATE = 27;
  static final int RULE_CODE_DESERIALIZE = 28;
  static final int RULE_CODE_IMPORTS = 30;

  static final int REPORTED = 1;
  static final int BLOCKED = 2;
  private static final int PLANE_PROCESS = 2;

  static final int MAX_ARGUMENTS = 8;
  private static final int MAX_MESSAGE = 4096;
  private static final int MAX_PATH = 1024;
  private static final int MAX_ARGUMENT = 128;
  private static final int MAX_TEXT = 256;
  /** Bytes of a field with a number. */
  private static final int NUMBER = 7;

  private final byte[] buffer = new byte[MAX_MESSAGE];
  private int used = 4;

  Message(int kind, int action) {
    buffer[0] = 'R';
    buffer[1] = 'F';
    buffer[2] = 1;
    buffer[3] = (byte) kind;
    number(PID, Channel.process());
    number(THREAD, Channel.thread());
    octet(ACTION, action);
  }

  /** That the hook is in, and what it has put in place. Sent before any code of the function runs. */
  static Message hookUp(String served) {
    return new Message(HOOK_UP, 0).text(NAME, "Java").text(DETAIL, served);
  }

  /** Says what came of it, by which rule. */
  Message verdict(int outcome, int rule) {
    octet(OUTCOME, outcome);
    octet(RULE, rule);
    octet(PLANE, PLANE_PROCESS);
    return this;
  }

  /** Adds a text; what has no room is left out. Room for a DROPPED field is kept. */
  Message text(int tag, String value) {
    int limit = tag == PATH ? MAX_PATH : tag == ARGUMENT || tag == FRAME ? MAX_ARGUMENT : MAX_TEXT;
    byte[] bytes = (value.length() > limit ? value.substring(0, limit) : value).getBytes(StandardCharsets.UTF_8);
    bytes(tag, bytes, Math.min(bytes.length, limit));
    return this;
  }

  /** Adds an address as 16 bytes of IPv6 (IPv4 mapped) and the port. */
  Message address(InetAddress address, int port) {
    byte[] bytes = new byte[18];
    byte[] given = address.getAddress();
    if (address instanceof Inet4Address) {
      bytes[10] = bytes[11] = (byte) 255;
    }
    System.arraycopy(given, 0, bytes, 16 - given.length, given.length);
    bytes[16] = (byte) port;
    bytes[17] = (byte) (port >> 8);
    bytes(ADDRESS, bytes, bytes.length);
    return this;
  }

  /** Adds where in the code, and by which executable. */
  Message place(Place place) {
    text(CODE, place.code);
    text(EXE, Channel.executable());
    for (String frame : place.frames) {
      text(FRAME, frame);
    }
    return this;
  }

  /** Adds a number of four bytes. */
  void number(int tag, int value) {
    head(tag, 4);
    for (int index = 0; index < 4; index++) {
      buffer[used++] = (byte) (value >> 8 * index);
    }
  }

  byte[] buffer() {
    return buffer;
  }

  int length() {
    return used;
  }

  private void octet(int tag, int value) {
    head(tag, 1);
    buffer[used++] = (byte) value;
  }

  private void bytes(int tag, byte[] bytes, int length) {
    if (used + 3 + length + NUMBER <= MAX_MESSAGE) {
      head(tag, length);
      System.arraycopy(bytes, 0, buffer, used, length);
      used += length;
    }
  }

  private void head(int tag, int length) {
    buffer[used++] = (byte) tag;
    buffer[used++] = (byte) length;
    buffer[used++] = (byte) (length >> 8);
  }
}
