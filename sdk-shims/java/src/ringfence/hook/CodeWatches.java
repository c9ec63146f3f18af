package ringfence.hook;

import java.util.List;

/**
 * Which methods call {@link Detections} first, where the policy has the key of {@code [code]} that they serve.
 *
 * <p>JDK-internal code (lambdas, proxies, accessors, archived classes) defines its classes by other methods than these and
 * is not looked at. {@link CodeStart} carries it out.
 */
final class CodeWatches {
  private static final String DETECTIONS = "ringfence/hook/Detections";
  private static final String CLIENT = "com/amazonaws/services/lambda/runtime/api/client/runtimeapi/";
  private static final String OBJECT = "(Ljava/lang/Object;)V";

  /** Where classes are made of bytes. */
  static final List<Watches.Watched> DEFINITIONS =
      List.of(
          new Watches.Watched(
              "java/lang/ClassLoader",
              call("defineClass", "(Ljava/lang/String;[BIILjava/security/ProtectionDomain;)", "defined",
                  "([BIILjava/security/ProtectionDomain;)V", "a2 i3 i4 a5"),
              call("defineClass", "(Ljava/lang/String;Ljava/nio/ByteBuffer;Ljava/security/ProtectionDomain;)", "defined",
                  "(Ljava/nio/ByteBuffer;Ljava/security/ProtectionDomain;)V", "a2 a3")),
          new Watches.Watched(
              "java/lang/invoke/MethodHandles$Lookup",
              call("defineClass", "([B)", "defined", "([B)V", "a1"),
              call("defineHiddenClass", "([BZ", "defined", "([B)V", "a1"),
              call("defineHiddenClassWithClassData", "([BLjava/lang/Object;Z", "defined", "([B)V", "a1")));

  /** Where the event passes, in the runtime's client since version 2.5 and before; it is one of both. */
  static final List<Watches.Watched> EVENT =
      List.of(event(CLIENT + "dto/InvocationRequest"), event(CLIENT + "InvocationRequest"));

  /** Where text becomes code. */
  static final List<Watches.Watched> EVALUATIONS =
      List.of(
          new Watches.Watched("javax/script/AbstractScriptEngine", call("<init>", "()V", "engine", "()V", "")),
          new Watches.Watched(
              "com/sun/tools/javac/main/JavaCompiler",
              call("parse", "(Ljavax/tools/JavaFileObject;Ljava/lang/CharSequence;", "compiled", "(Ljava/lang/CharSequence;)V", "a2")));

  private CodeWatches() {}

  /** A method of a script engine that takes text, or a reader of text, as its first argument. */
  static Prefix.Call evaluation(String method, String descriptor) {
    return call(method, descriptor, "evaluated", OBJECT, "a1");
  }

  private static Watches.Watched event(String type) {
    return new Watches.Watched(
        type, call("getContent", "()", "event", OBJECT, "a0"), call("getContentAsStream", "()", "event", OBJECT, "a0"));
  }

  private static Prefix.Call call(String method, String descriptor, String event, String eventDescriptor, String given) {
    return new Prefix.Call(method, descriptor, DETECTIONS, event, eventDescriptor, given);
  }
}
