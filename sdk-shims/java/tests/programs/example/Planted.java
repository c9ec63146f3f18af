package example;

/** The class that attackers bring along. */
public final class Planted {
  @Override
  public String toString() {
    return "planted";
  }
}
