package ringfence.hook;

import java.util.List;

/**
 * Reads what the launcher passes on of the policy: {@code evaluate=report,deserialize=deny,reads=deny}.
 *
 * <p>It knows the form, not the meaning. {@link Events} and {@link CodeStart} ask once, at the start.
 */
public final class Words {
  private static final String ALL = System.getenv("RINGFENCE_CODE");

  private Words() {}

  /** Whether the policy asks for anything in [code]. */
  public static boolean any() {
    return isOfCode(ALL);
  }

  private static boolean isOfCode(String words) {
    for (String pair : words == null ? new String[0] : words.split(",")) {
      if (!pair.startsWith("reads")) {
        return true;
      }
    }
    return false;
  }

  /** The entries of a list, {@code key=a|b}. */
  static List<String> list(String key) {
    for (String pair : ALL == null ? new String[0] : ALL.split(",")) {
      if (pair.startsWith(key + "=")) {
        return List.of(pair.substring(key.length() + 1).split("\\|"));
      }
    }
    return List.of();
  }

  /** 0 where the key is not there or says something else, 1 report, 2 deny. */
  static int level(String key) {
    for (String pair : ALL == null ? new String[0] : ALL.split(",")) {
      if (pair.equals(key + "=report")) {
        return Limits.REPORT;
      }
      if (pair.equals(key + "=deny")) {
        return Limits.DENY;
      }
    }
    return 0;
  }
}
