package attacked;

import java.net.URI;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import javax.script.AbstractScriptEngine;
import javax.script.Bindings;
import javax.script.ScriptContext;
import javax.script.ScriptEngineFactory;
import javax.script.SimpleBindings;
import javax.tools.JavaFileObject;
import javax.tools.SimpleJavaFileObject;
import javax.tools.ToolProvider;

/** A function that makes code of its event, one attempt a line, and of what is its own. */
public final class Coded {
  interface Work {
    Object run() throws Exception;
  }

  public Map<String, String> handleRequest(Map<String, String> event) {
    Map<String, String> answer = new HashMap<>();
    byte[] code = Base64.getDecoder().decode(event.get("code"));
    attempt(answer, "script", () -> new Engine().eval(event.get("script")));
    attempt(answer, "compiler", () -> compiled(event.get("source")));
    attempt(answer, "class", () -> new Loader().define(code));
    attempt(answer, "folder", () -> fromFolder(code));
    attempt(answer, "own", () -> new Engine().eval("its own " + event.get("word")) + " " + compiled("class Own {}"));
    return answer;
  }

  private static void attempt(Map<String, String> answer, String name, Work work) {
    try {
      answer.put(name, String.valueOf(work.run()));
    } catch (Exception fault) {
      answer.put(name, fault.getMessage());
    }
  }

  private static Object compiled(String source) {
    var file = new SimpleJavaFileObject(URI.create("string:///Some.java"), JavaFileObject.Kind.SOURCE) {
      @Override
      public CharSequence getCharContent(boolean ignore) {
        return source;
      }
    };
    List<JavaFileObject> files = List.of(file);
    return ToolProvider.getSystemJavaCompiler().getTask(null, null, null, List.of("-proc:none", "-d", "/tmp"), null, files).call();
  }

  private static Object fromFolder(byte[] code) throws Exception {
    Files.createDirectories(Path.of("/tmp/example"));
    Files.write(Path.of("/tmp/example/Planted.class"), code);
    try (URLClassLoader loader = new URLClassLoader(new URL[] {URI.create("file:/tmp/").toURL()})) {
      return loader.loadClass("example.Planted").getDeclaredConstructor().newInstance();
    }
  }

  private static final class Loader extends ClassLoader {
    Object define(byte[] code) throws Exception {
      return defineClass(null, code, 0, code.length).getDeclaredConstructor().newInstance();
    }
  }

  private static final class Engine extends AbstractScriptEngine {
    @Override
    public Object eval(String script, ScriptContext context) {
      return script.length();
    }

    @Override
    public Object eval(java.io.Reader reader, ScriptContext context) {
      return null;
    }

    @Override
    public Bindings createBindings() {
      return new SimpleBindings();
    }

    @Override
    public ScriptEngineFactory getFactory() {
      return null;
    }
  }
}
