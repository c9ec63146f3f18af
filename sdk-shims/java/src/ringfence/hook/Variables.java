package ringfence.hook;

import java.util.AbstractMap;
import java.util.Collections;
import java.util.HashMap;
import java.util.Map;
import java.util.Objects;
import java.util.Set;

/**
 * The environment as {@code System.getenv()} gives it where the policy denies reads of credentials: what a reader may not
 * have is not there. {@link Reads} judges; the agent's entry puts it in the place of the JDK's own map.
 */
public final class Variables extends AbstractMap<String, String> {
  private final Map<String, String> all;
  private final Map<String, String> visible;

  private Variables(Map<String, String> environment) {
    all = Collections.unmodifiableMap(environment);
    Map<String, String> rest = new HashMap<>(environment);
    rest.keySet().removeIf(Reads::isWatched);
    visible = Collections.unmodifiableMap(rest);
  }

  /** What stands for this environment; null where the policy denies nothing of it. */
  public static Map<String, String> instead(Map<String, String> environment) {
    return Reads.denies() ? new Variables(new HashMap<>(environment)) : null;
  }

  @Override
  public String get(Object key) {
    String name = (String) Objects.requireNonNull(key);
    return Reads.isWatched(name) && all.containsKey(name) && !Reads.gives(name) ? null : all.get(name);
  }

  @Override
  public boolean containsKey(Object key) {
    String name = (String) Objects.requireNonNull(key);
    return visible.containsKey(name) || (all.containsKey(name) && Reads.givesQuietly());
  }

  @Override
  public Set<String> keySet() {
    return (Reads.givesQuietly() ? all : visible).keySet();
  }

  @Override
  public Set<Map.Entry<String, String>> entrySet() {
    return (Reads.givesAll() ? all : visible).entrySet();
  }

  @Override
  public int size() {
    return visible.size();
  }
}
