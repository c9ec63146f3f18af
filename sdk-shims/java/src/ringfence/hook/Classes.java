package ringfence.hook;

/**
 * Which classes may be restored from data without a word: values that do nothing when they are restored.
 *
 * <p>Everything else can be part of a chain that runs a program, so it is worth a record where the policy asks for one.
 */
final class Classes {
  private static final String[] HARMLESS = {"java.lang.", "java.math.", "java.time.", "java.net.Inet"};

  private Classes() {}

  /** Also arrays of such, and of primitive values. */
  static boolean isHarmless(String name) {
    String element = name;
    while (element.startsWith("[")) {
      element = element.substring(1);
    }
    if (element.length() <= 1) {
      return true;
    }
    if (element.length() < name.length() && element.startsWith("L")) {
      element = element.substring(1);
    }
    if (element.startsWith("java.lang.reflect.") || element.startsWith("java.lang.invoke.")) {
      return false;
    }
    for (String beginning : HARMLESS) {
      if (element.startsWith(beginning)) {
        return true;
      }
    }
    return isCollection(element);
  }

  /** Collections without comparators and without code of their element types' choosing but hashCode and equals. */
  private static boolean isCollection(String name) {
    switch (name) {
      case "java.util.ArrayList":
      case "java.util.LinkedList":
      case "java.util.ArrayDeque":
      case "java.util.HashMap":
      case "java.util.LinkedHashMap":
      case "java.util.HashSet":
      case "java.util.LinkedHashSet":
      case "java.util.Date":
      case "java.util.UUID":
      case "java.util.Locale":
      case "java.util.CollSer":
        return true;
      default:
        return false;
    }
  }
}
