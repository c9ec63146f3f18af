package ringfence.hook;

/**
 * Reads what the launcher passes on of the policy: {@code evaluate=report,deserialize=deny}.
 *
 * <p>It knows the form, not the meaning. {@link Events} asks once, at the start.
 */
final class Words {
  private Words() {}

  /** 0 where the key is not there or says something else, 1 report, 2 deny. */
  static int level(String words, String key) {
    for (String pair : words == null ? new String[0] : words.split(",")) {
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
