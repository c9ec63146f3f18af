package ringfence;

/** What code inside a scope gets for what the scope denies, and what restoring objects gets where the policy denies it. */
public final class Denied extends SecurityException {
  private static final long serialVersionUID = 1;

  /** With what was denied, and by what. */
  public Denied(String message) {
    super(message);
  }
}
