import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.ObjectInputStream;
import java.io.ObjectOutputStream;
import java.io.Serializable;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.URI;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;
import javax.tools.JavaFileObject;
import javax.tools.SimpleJavaFileObject;
import javax.tools.ToolProvider;

/** Plays the steps that the event names, and says of each whether it got through. Steps are parted by ";". */
public class Handler {
    /** Milliseconds: long enough for what looks at connections from outside. */
    private static final long HOLD = 500;

    /** A class that serialised data names. */
    public static class Payload implements Serializable {
        private static final long serialVersionUID = 1;
    }

    public Map<String, List<String>> handle(Map<String, List<String>> event) {
        List<String> results = new ArrayList<>();
        List<String> step = new ArrayList<>();
        List<String> words = new ArrayList<>(event.get("steps"));
        words.add(";");
        for (String word : words) {
            if (!word.equals(";")) {
                step.add(word);
                continue;
            }
            results.add(attempt(step));
            step = new ArrayList<>();
        }
        return Map.of("results", results);
    }

    private static String attempt(List<String> step) {
        try {
            return play(step.get(0), step.subList(1, step.size()));
        } catch (Exception | LinkageError fault) {
            return fault.toString();
        }
    }

    private static String play(String name, List<String> words) throws Exception {
        switch (name) {
            case "exec":
                Process process = new ProcessBuilder(words).start();
                String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8).trim();
                return process.waitFor() == 137 ? "killed" : said;
            case "spawn":
                new ProcessBuilder(words).redirectOutput(ProcessBuilder.Redirect.DISCARD).start();
                Thread.sleep(50);
                return "through";
            case "connect":
                return connect(new InetSocketAddress(words.get(0), Integer.parseInt(words.get(1))));
            case "resolve":
                InetAddress.getByName(words.get(0));
                return "through";
            case "bind":
                try (ServerSocket listener = new ServerSocket()) {
                    listener.bind(new InetSocketAddress(words.get(0), Integer.parseInt(words.get(1))));
                    Thread.sleep(HOLD);
                }
                return "through";
            case "api":
                return api(System.getenv("AWS_LAMBDA_RUNTIME_API").split(":"));
            case "read":
                return Files.readAllBytes(Path.of(words.get(0))).length > 0 ? "through" : "empty";
            case "write":
                Files.writeString(Path.of(words.get(0)), "x");
                return "through";
            case "getenv":
                return System.getenv(words.get(0)) == null ? "absent" : "through";
            case "evaluate":
                return evaluate(words.get(0));
            case "deserialize":
                return deserialize();
            case "plant":
                return plant(Path.of(words.get(0)));
            case "imports":
                return imports(Path.of(words.get(0)));
            default:
                return "no such step";
        }
    }

    private static String connect(InetSocketAddress to) throws Exception {
        try (Socket socket = new Socket()) {
            socket.connect(to, 5000);
            Thread.sleep(HOLD);
        }
        return "through";
    }

    private static String api(String[] address) throws IOException {
        try (Socket socket = new Socket(address[0], Integer.parseInt(address[1]))) {
            String request = "GET /truth HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            socket.getOutputStream().write(request.getBytes(StandardCharsets.US_ASCII));
            return socket.getInputStream().read() >= 0 ? "through" : "closed";
        }
    }

    /** Compiles text; a class that the compiler has written is code. */
    private static String evaluate(String text) throws Exception {
        JavaFileObject source = new SimpleJavaFileObject(URI.create("string:///Planted.java"), JavaFileObject.Kind.SOURCE) {
            @Override
            public CharSequence getCharContent(boolean ignoresErrors) {
                return text;
            }
        };
        Path made = Files.createDirectories(Path.of("/tmp/ok-classes"));
        List<String> options = List.of("-proc:none", "-d", made.toString());
        boolean done = ToolProvider.getSystemJavaCompiler().getTask(null, null, null, options, null, List.of(source)).call();
        return done ? "through" : "refused";
    }

    /** Writes a jar with a class that nothing else loads from there. */
    private static String plant(Path jar) throws Exception {
        String name = "Handler$Payload.class";
        try (ZipOutputStream out = new ZipOutputStream(Files.newOutputStream(jar))) {
            out.putNextEntry(new ZipEntry(name));
            out.write(Handler.class.getResourceAsStream(name).readAllBytes());
        }
        return "through";
    }

    private static String imports(Path jar) throws Exception {
        try (URLClassLoader loader = new URLClassLoader(new URL[] {jar.toUri().toURL()}, null)) {
            return loader.loadClass("Handler$Payload") == Payload.class ? "the same" : "through";
        }
    }

    private static String deserialize() throws Exception {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        try (ObjectOutputStream out = new ObjectOutputStream(bytes)) {
            out.writeObject(new Payload());
        }
        try (ObjectInputStream in = new ObjectInputStream(new ByteArrayInputStream(bytes.toByteArray()))) {
            return in.readObject() instanceof Payload ? "through" : "empty";
        }
    }
}
