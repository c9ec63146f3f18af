package ringfence;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import ringfence.hook.Limits;
import ringfence.hook.Start;

/**
 * Limits that a function sets for its own code, for a block or for good. It never loosens: what the policy denies stays denied.
 *
 * <pre>{@code
 * try (var scope = Ringfence.scope("egress", "children", "tmp", "files")) {
 *   return render(event.get("template"));
 * }
 * }</pre>
 */
public final class Ringfence {
  private static final List<String> KINDS = List.of("tmp", "egress", "children", "files");
  private static final List<String> LEVELS = List.of("allow", "report", "deny");
  private static final Map<String, String> SHIELD_KEYS =
      Map.of(
          "outbound_connectivity", "egress",
          "read_write_tmp", "tmp",
          "create_child_process", "children",
          "read_handler", "files");
  private static final List<String> SHIELD_LEVELS = List.of("allow", "alert", "block");
  private static final List<String> IGNORED = List.of("token", "disable_analytics");

  private Ringfence() {}

  /** Denies the named kinds until the result is closed: {@code tmp}, {@code egress}, {@code children}, {@code files}. */
  public static Scope scope(String... denied) {
    int[] levels = new int[KINDS.size()];
    for (String kind : denied) {
      levels[kind(kind, KINDS)] = Limits.DENY;
    }
    return enter(levels, List.of());
  }

  /**
   * Sets a level for each kind, {@code "deny"}, {@code "report"} or {@code "allow"} (no limit of this scope's), until the result is
   * closed. {@code files} may also be a list of globs that may be neither read nor written.
   */
  public static Scope scope(Map<String, ?> limits) {
    int[] levels = new int[KINDS.size()];
    List<String> globs = new ArrayList<>();
    limits.forEach(
        (kind, says) -> {
          int index = kind(kind, KINDS);
          if (index == Limits.FILES && says instanceof Iterable<?> list) {
            list.forEach(glob -> globs.add(String.valueOf(glob)));
          } else {
            levels[index] = level(kind, says, LEVELS);
          }
        });
    return enter(levels, globs);
  }

  /** Tightens the whole process for good, in FunctionShield's words. A later call can only tighten further. */
  public static void configure(Map<String, ?> settings) {
    int[] levels = new int[KINDS.size()];
    settings.forEach(
        (key, says) -> {
          if (key.equals("policy") && says instanceof Map<?, ?> inner) {
            inner.forEach((name, value) -> shield(levels, String.valueOf(name), value));
          } else if (!IGNORED.contains(key)) {
            shield(levels, key, says);
          }
        });
    installed();
    Limits.always(levels);
  }

  private static void shield(int[] levels, String key, Object says) {
    if (!SHIELD_KEYS.containsKey(key)) {
      throw new IllegalArgumentException(key + ": expected one of " + String.join(", ", SHIELD_KEYS.keySet()));
    }
    int index = KINDS.indexOf(SHIELD_KEYS.get(key));
    levels[index] = Math.max(levels[index], level(key, says, SHIELD_LEVELS));
  }

  private static int kind(String kind, List<String> kinds) {
    int index = kinds.indexOf(kind);
    if (index < 0) {
      throw new IllegalArgumentException(kind + ": expected one of " + String.join(", ", kinds));
    }
    return index;
  }

  private static int level(String key, Object says, List<String> words) {
    int index = words.indexOf(String.valueOf(says));
    if (index < 0) {
      throw new IllegalArgumentException(key + "=" + says + ": expected one of " + String.join(", ", words));
    }
    return index;
  }

  private static Scope enter(int[] levels, List<String> globs) {
    installed();
    return new Scope(Limits.enter(levels, globs));
  }

  /** A scope that limits nothing must not look like one. */
  private static void installed() {
    if (!Start.isComplete()) {
      throw new IllegalStateException("the Java hook is not loaded: was java started by the launcher, with the layer attached?");
    }
  }
}
