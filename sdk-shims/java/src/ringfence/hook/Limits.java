package ringfence.hook;

import java.io.IOException;
import java.nio.file.FileSystems;
import java.nio.file.Path;
import java.nio.file.PathMatcher;
import java.util.List;

/**
 * What code may do inside the scopes that are open: levels for a thread, and those of the whole process.
 *
 * <p>Limits form a chain from the innermost scope outwards; of all that are open the strictest holds. A thread begins with
 * the chain of the one that made it; a scope that is closed limits nobody any more. {@link Events} asks before
 * something happens, {@link ringfence.Ringfence} makes them.
 */
public final class Limits {
  public static final int REPORT = 1;
  public static final int DENY = 2;

  public static final int TMP = 0;
  public static final int EGRESS = 1;
  public static final int CHILDREN = 2;
  public static final int FILES = 3;

  private static final String[] WORDS = {"tmp", "egress", "children", "files"};
  private static final int[] RULES = {
    Message.RULE_TMP_WRITES, Message.RULE_EGRESS_ALLOW, Message.RULE_PROCESS_ALLOW, Message.RULE_FILES_DENY_READ
  };
  private static final Path TMP_FOLDER = Path.of("/tmp");
  private static final Path TASK_ROOT = Path.of(System.getenv().getOrDefault("LAMBDA_TASK_ROOT", "/var/task"));

  private static final InheritableThreadLocal<Limits> current = new InheritableThreadLocal<>();
  private static volatile Limits process;
  /** Whether any scope was ever opened: until then nobody looks. */
  private static volatile boolean used;

  private final int[] levels;
  private final List<PathMatcher> globs;
  private final Limits outer;
  private volatile boolean open = true;

  private Limits(int[] levels, List<PathMatcher> globs, Limits outer) {
    this.levels = levels;
    this.globs = globs;
    this.outer = outer;
  }

  /** Tightens this thread, and those that it makes, until the result is closed. */
  public static Limits enter(int[] levels, List<String> globs) {
    List<PathMatcher> matchers =
        globs.stream().map(glob -> FileSystems.getDefault().getPathMatcher("glob:" + glob)).toList();
    Limits limits = new Limits(levels.clone(), matchers, innermost());
    used = true;
    current.set(limits);
    Library.hold(denied(limits));
    return limits;
  }

  /** Tightens the whole process for good. */
  public static synchronized void always(int[] levels) {
    process = new Limits(levels.clone(), List.of(), process);
    used = true;
    Library.holdForAll(denied(process));
  }

  /** Ends these limits, on whatever thread they hold. */
  public void close() {
    open = false;
    Library.hold(denied(innermost()));
  }

  /** A thread begins: one that carries virtual threads has no limits of its own. */
  static void begun() {
    if (used) {
      Library.free(Thread.currentThread());
    }
  }

  /** The innermost open limits of this thread; those that were closed are forgotten. */
  private static Limits innermost() {
    Limits limits = current.get();
    if (limits == null || limits.open) {
      return limits;
    }
    while (limits != null && !limits.open) {
      limits = limits.outer;
    }
    if (limits == null) {
      current.remove();
    } else {
      current.set(limits);
    }
    // They were closed on another thread, which cannot tell for this one.
    Library.hold(denied(limits));
    return limits;
  }

  /** What these limits and those around them deny, as the library is told; it knows nothing of files. */
  private static int denied(Limits limits) {
    int bits = 0;
    for (int what = TMP; what <= CHILDREN; what++) {
      bits |= strictest(limits, what) == DENY ? 1 << what : 0;
    }
    return bits;
  }

  static int level(int what) {
    return used ? Math.max(strictest(innermost(), what), strictest(process, what)) : 0;
  }

  private static int strictest(Limits limits, int what) {
    int strictest = 0;
    for (Limits each = limits; each != null; each = each.outer) {
      if (each.open) {
        strictest = Math.max(strictest, each.levels[what]);
      }
    }
    return strictest;
  }

  static String word(int what) {
    return WORDS[what];
  }

  static int rule(int what) {
    return RULES[what];
  }

  /** How strict, and on whose account. */
  static final class OfFile {
    final int level;
    final int what;

    OfFile(int level, int what) {
      this.level = level;
      this.what = what;
    }
  }

  static boolean judgesFiles() {
    return used && (innermost() != null || process != null);
  }

  static OfFile of(String path) {
    Path real = real(Path.of(path).toAbsolutePath().normalize());
    int files = Math.max(real.startsWith(TASK_ROOT) ? level(FILES) : 0, matching(real));
    int tmp = real.startsWith(TMP_FOLDER) ? level(TMP) : 0;
    return tmp >= files ? new OfFile(tmp, TMP) : new OfFile(files, FILES);
  }

  private static int matching(Path path) {
    for (Limits each = innermost(); each != null; each = each.outer) {
      if (each.open && each.globs.stream().anyMatch(glob -> glob.matches(path))) {
        return DENY;
      }
    }
    return 0;
  }

  /** Where a path leads; of one that is not there yet, where its folder is. */
  private static Path real(Path path) {
    try {
      return path.toRealPath();
    } catch (IOException notThere) {
      Path folder = path.getParent();
      return folder == null ? path : real(folder).resolve(path.getFileName());
    }
  }
}
