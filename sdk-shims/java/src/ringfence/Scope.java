package ringfence;

import ringfence.hook.Limits;

/** A scope that is open. Closing it, on whatever thread, ends what it limits. */
public final class Scope implements AutoCloseable {
  private final Limits limits;

  Scope(Limits limits) {
    this.limits = limits;
  }

  @Override
  public void close() {
    limits.close();
  }
}
