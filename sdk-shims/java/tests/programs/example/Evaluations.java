package example;

import com.amazonaws.services.lambda.runtime.api.client.runtimeapi.dto.InvocationRequest;
import java.io.BufferedReader;
import java.io.StringReader;
import java.lang.invoke.MethodHandles;
import java.lang.reflect.Proxy;
import java.net.URI;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Executors;
import javax.script.SimpleScriptContext;
import javax.tools.JavaCompiler;
import javax.tools.JavaFileObject;
import javax.tools.SimpleJavaFileObject;
import javax.tools.ToolProvider;

/** Turns data of an event, or of /tmp, into code; one attempt a line, named, so that the tests find the line. */
public final class Evaluations {
  interface Work {
    Object run() throws Exception;
  }

  private static final String SCRIPT = "banana('yellow')";
  private static final String SOURCE = "public class Planted { static int value = \"planted\".length(); }";
  private static final Map<String, Work> ALL = new TreeMap<>();

  static {
    ALL.put("eval", () -> new Engine().eval(SCRIPT));
    ALL.put("context", () -> new Engine.Derived().eval(SCRIPT, new SimpleScriptContext()));
    ALL.put("bindings", () -> new Engine().eval(SCRIPT, new Engine().createBindings()));
    ALL.put("reader", () -> new Engine().eval(new StringReader(SCRIPT)));
    ALL.put("buffered", () -> new Engine().eval(new BufferedReader(new StringReader(SCRIPT)), new SimpleScriptContext()));
    ALL.put("script", () -> new Engine().compile(SCRIPT).eval());
    ALL.put("inside", () -> new Engine().eval("result = " + SCRIPT + " + 1"));
    ALL.put("nested", () -> new Engine().eval("deep(\"down\\n\")\n"));
    ALL.put("thread", () -> Executors.newSingleThreadExecutor(Evaluations::daemon).submit(() -> new Engine().eval(SCRIPT)).get());
    ALL.put("compiler", () -> compiled(SOURCE));
    ALL.put("loader", () -> new Loader().define(planted()));
    ALL.put("buffer", () -> new Loader().define(ByteBuffer.wrap(planted())));
    ALL.put("hidden", () -> made(MethodHandles.lookup().defineHiddenClass(planted(), true).lookupClass()));
    ALL.put("lookup", () -> made(MethodHandles.lookup().defineClass(planted())));
    ALL.put("folder", () -> fromFolder(folder()));
    ALL.put("link", () -> fromFolder(linked(folder())));
    ALL.put("file", () -> new Loader().define(Files.readAllBytes(folder().resolve("example/Planted.class"))));
    ALL.put("plain", () -> new Engine().eval("value = 1 + 1 + application"));
    ALL.put("word", () -> new Engine().eval("application = 'json'"));
    ALL.put("short", () -> new Engine().eval("1 + 1"));
    ALL.put("source", () -> compiled("class Application { }"));
    ALL.put("own", () -> new Loader().define(file("example/Late.class")));
    ALL.put("everyday", Evaluations::everyday);
    ALL.put("static", () -> Engine.compile("a", new Engine().eval("plain" + "text").toString()));
  }

  private Evaluations() {}

  /** The first word says of what kind the event is. */
  public static void main(String[] names) throws Exception {
    InvocationRequest request = new InvocationRequest();
    request.setContent(event(names[0]));
    if (!names[0].equals("none")) {
      request.getContent();
    }
    for (String name : List.of(names).subList(1, names.length)) {
      try {
        System.out.println(name + " " + ALL.get(name).run());
      } catch (Exception fault) {
        Throwable first = fault.getCause() == null ? fault : fault.getCause();
        System.out.println(name + " " + first.getClass().getName());
      }
    }
  }

  private static byte[] event(String kind) throws Exception {
    byte[] planted = kind.equals("other") ? file("example/Late.class") : planted();
    String text = "{\"script\": \"" + SCRIPT + "\", \"source\": \"" + SOURCE.replace("\"", "\\u0022") + "\", \"word\": \"application\", "
        + "\"body\": \"{\\\"x\\\": \\\"deep(\\\\\\\"down\\\\\\\\n\\\\\\\")\\\"}\", ";
    switch (kind) {
      case "hex":
        text += "\"code\": \"" + HexFormat.of().formatHex(planted) + "\"}";
        break;
      case "huge":
        text += "\"code\": \"" + "A".repeat(7_000_000) + "\"}";
        break;
      case "many":
        text += "\"code\": [" + "[\"aaaaaaaaaa\\ud800\", ".repeat(100_000);
        break;
      case "other":
        text = "{\"text\": \"nothing of it\", \"word\": \"application\", \"path\": \"another place\"}";
        break;
      default:
        text += "\"code\": [{\"x\": \"" + Base64.getUrlEncoder().encodeToString(planted) + "\"}]}";
    }
    return text.getBytes(StandardCharsets.UTF_8);
  }

  private static final class Loader extends ClassLoader {
    Object define(byte[] bytes) throws Exception {
      return made(defineClass(null, bytes, 0, bytes.length));
    }

    Object define(ByteBuffer bytes) throws Exception {
      return made(defineClass(null, bytes, null));
    }
  }

  private static Object made(Class<?> type) throws Exception {
    return type.getDeclaredConstructor().newInstance() == null ? "nothing" : type.getSimpleName().replaceAll("/.*", "");
  }

  private static byte[] planted() throws Exception {
    return file("example/Planted.class");
  }

  private static byte[] file(String name) throws Exception {
    return Files.readAllBytes(Path.of(System.getenv("LAMBDA_TASK_ROOT"), name));
  }

  private static Path folder() throws Exception {
    Path folder = Files.createTempDirectory(Path.of("/tmp"), "ringfence");
    Path file = Files.createDirectory(folder.resolve("example")).resolve("Planted.class");
    Files.write(file, planted());
    for (Path each : List.of(folder, file.getParent(), file)) {
      each.toFile().deleteOnExit();
    }
    return folder;
  }

  private static Path linked(Path folder) throws Exception {
    Path place = Files.createTempDirectory(Path.of("/var/tmp"), "ringfence");
    Path link = Files.createSymbolicLink(place.resolve("link"), folder);
    place.toFile().deleteOnExit();
    link.toFile().deleteOnExit();
    return link;
  }

  private static Object fromFolder(Path folder) throws Exception {
    URL url = URI.create("file:" + folder + "/").toURL();
    try (URLClassLoader loader = new URLClassLoader(new URL[] {url}, null)) {
      return made(loader.loadClass("example.Planted"));
    }
  }

  private static Object compiled(String source) {
    JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
    JavaFileObject file = new SimpleJavaFileObject(URI.create("string:///Planted.java"), JavaFileObject.Kind.SOURCE) {
      @Override
      public CharSequence getCharContent(boolean ignore) {
        return source;
      }
    };
    List<Object> told = new ArrayList<>();
    List<String> options = List.of("-proc:none", "-d", System.getenv("OUT"));
    return compiler.getTask(null, null, told::add, options, null, List.of(file)).call() + " " + told;
  }

  /** What the JDK defines for everybody. */
  private static Object everyday() {
    Comparable<?> proxy = (Comparable<?>) Proxy.newProxyInstance(Evaluations.class.getClassLoader(), new Class<?>[] {Comparable.class}, (it, method, given) -> 7);
    List<Integer> values = new ArrayList<>(List.of(3, 1, 2));
    values.sort((one, other) -> one - other);
    return proxy.compareTo(null) + values.get(0);
  }

  private static Thread daemon(Runnable work) {
    Thread thread = new Thread(work);
    thread.setDaemon(true);
    return thread;
  }
}
