package example;

import java.io.Reader;
import java.util.Scanner;
import javax.script.AbstractScriptEngine;
import javax.script.Bindings;
import javax.script.Compilable;
import javax.script.CompiledScript;
import javax.script.ScriptContext;
import javax.script.ScriptEngine;
import javax.script.ScriptEngineFactory;
import javax.script.ScriptException;
import javax.script.SimpleBindings;

/** A script engine in the form that most have; a script's value is its length. */
class Engine extends AbstractScriptEngine implements Compilable {
  /** One whose own class has no such method. */
  static final class Derived extends Engine {}

  @Override
  public Object eval(String script, ScriptContext context) {
    return script.length();
  }

  @Override
  public Object eval(Reader reader, ScriptContext context) {
    return new Scanner(reader).useDelimiter("\\A").next().length();
  }

  @Override
  public CompiledScript compile(String script) {
    return new Compiled(script.length(), this);
  }

  @Override
  public CompiledScript compile(Reader script) {
    return new Compiled((Integer) eval(script, getContext()), this);
  }


  /** Named so, and no method of an engine. */
  static String compile(String one, String other) {
    return one + other;
  }

  @Override
  public Bindings createBindings() {
    return new SimpleBindings();
  }

  @Override
  public ScriptEngineFactory getFactory() {
    return null;
  }

  private static final class Compiled extends CompiledScript {
    private final int length;
    private final ScriptEngine engine;

    Compiled(int length, ScriptEngine engine) {
      this.length = length;
      this.engine = engine;
    }

    @Override
    public Object eval(ScriptContext context) throws ScriptException {
      return length;
    }

    @Override
    public ScriptEngine getEngine() {
      return engine;
    }
  }
}
