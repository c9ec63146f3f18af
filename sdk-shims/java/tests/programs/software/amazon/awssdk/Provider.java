package software.amazon.awssdk;

/** Reads a credential as the SDK's own provider does. */
public final class Provider {
  private Provider() {}

  public static int resolve() {
    return System.getenv("AWS_SECRET_ACCESS_KEY").length();
  }
}
