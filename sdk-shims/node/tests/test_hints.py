"""Before something that a policy may refuse, a hint says what and at which line."""

import socket
import unittest

from run import run

EXEC, MAP_EXECUTABLE, CONNECT, SEND, RESOLVE, BIND, OPEN_READ, DANGEROUS = 1, 2, 3, 4, 5, 6, 7, 11
LOOPBACK = b"\0" * 10 + b"\xff\xff" + bytes((127, 0, 0, 1))


class Hints(unittest.TestCase):
    def the_hint(self, action, code, **keywords):
        outcome = run(code, **keywords)
        self.assertEqual(outcome.stderr, "")
        hints = outcome.of("hint", action)
        self.assertTrue(hints, outcome.messages)
        return hints[0]

    def test_a_child_process_with_its_arguments_and_the_way_to_the_handler(self):
        hint = self.the_hint(
            EXEC,
            """
            import { exec } from 'node:child_process';

            function convert(text) {
              exec(`echo ${text}`);
            }

            export const handler = async (event) => convert(event);

            await handler('banana');
            """,
        )
        self.assertEqual(hint["path"], "/bin/sh")
        self.assertEqual(hint["arguments"], ["/bin/sh", "-c", "echo banana"])
        self.assertEqual(hint["code"], "index.mjs:4")
        self.assertEqual(hint["frames"][:2], ["index.mjs:4 convert", "index.mjs:7 handler"])

    def test_every_way_to_a_child_process(self):
        for call in (
            "spawn('true')",
            "execFile('true')",
            "exec('true')",
            "fork('/dev/null')",
            "spawnSync('true')",
            "execSync('true')",
            "execFileSync('true')",
        ):
            for name, before in (
                ("index.mjs", "import * as child from 'child_process';"),
                ("index.cjs", "const child = require('node:child_process');"),
            ):
                with self.subTest(call, name=name):
                    hint = self.the_hint(EXEC, f"{before}\n\nchild.{call};\n", name=name)
                    self.assertEqual(hint["code"], f"{name}:3")

    def test_a_function_that_was_taken_out_before_says_so_too(self):
        code = """
            const { promisify } = require('util');
            const run = promisify(require('child_process').execFile);
            (async () => {
              await null;
              await run('true');
            })();
            """
        self.assertEqual(self.the_hint(EXEC, code, name="index.cjs")["code"], "index.cjs:5")

    def test_a_connection_by_address_which_is_made_when_the_function_has_left_the_stack(self):
        for call in (
            "net.connect(PORT, '127.0.0.1')",
            "http.get('http://127.0.0.1:PORT/')",
            "fetch('http://127.0.0.1:PORT/').catch(() => {})",
            "http2.connect('http://127.0.0.1:PORT/')",
            "tls.connect(PORT, '127.0.0.1')",
        ):
            with self.subTest(call), socket.socket() as listener:
                listener.bind(("127.0.0.1", 0))
                port = listener.getsockname()[1]
                module = call.split(".")[0] if "." in call.split("(")[0] else "net"
                code = f"""
                    import {module} from '{module}';
                    process.on('uncaughtException', () => {{}});
                    async function reach() {{
                      const it = {call.replace("PORT", str(port))};
                      it.on?.('error', () => {{}});
                      await it;
                    }}
                    await reach();
                    """
                hint = self.the_hint(CONNECT, code)
                self.assertEqual(hint["address"], (LOOPBACK, port))
                self.assertEqual(hint["code"], "index.mjs:4")

    def test_a_name_and_the_connection_that_follows(self):
        for call in ("fetch('http://localhost:65001/').catch(() => {})", "http.get('http://LOCALHOST:65001/').on('error', () => {})"):
            with self.subTest(call):
                outcome = run(f"import http from 'http';\n\n\n\nconst it = {call};\n")
                (name,) = outcome.of("hint", RESOLVE)
                self.assertEqual((name["name"].lower(), name["code"]), ("localhost", "index.mjs:5"))
                connections = outcome.of("hint", CONNECT)
                self.assertTrue(connections)
                self.assertEqual({hint["code"] for hint in connections}, {"index.mjs:5"}, connections)

    def test_lookups(self):
        for call in ("dns.lookup('localhost', () => {})", "dns.promises.lookup('localhost')", "dns.resolve4('localhost', () => {})", "dns.promises.resolveTxt('localhost').catch(() => {})"):
            with self.subTest(call):
                hint = self.the_hint(RESOLVE, f"import dns from 'dns';\n{call};\n")
                self.assertEqual((hint["name"], hint["code"]), ("localhost", "index.mjs:2"))

    def test_a_datagram_names_the_line_that_sends_it(self):
        code = """
            import dgram from 'dgram';
            const socket = dgram.createSocket('udp4');
            function leak() {
              socket.send('x', 9, '127.0.0.1', () => socket.close());
            }
            leak();
            """
        hint = self.the_hint(SEND, code)
        self.assertEqual((hint["address"], hint["code"]), ((LOOPBACK, 9), "index.mjs:4"))

    def test_listeners(self):
        for call, address in (
            ("net.createServer().listen(0, function () { this.close(); })", bytes(16)),
            ("inspector.open(0, '127.0.0.1'); inspector.close()", LOOPBACK),
        ):
            with self.subTest(call):
                hint = run(f"import net from 'net';\nimport inspector from 'inspector';\n{call};\n").of("hint", BIND)[0]
                self.assertEqual((hint["address"][0], hint["code"]), (address, "index.mjs:3"))

    def test_opens_below_proc_and_no_others(self):
        for call in ("fs.readFileSync('/proc/self/environ', 'utf8')", "fs.readFileSync('/proc/self/environ')", "await fs.promises.readFile('/proc/self/environ')"):
            with self.subTest(call):
                code = f"import fs from 'fs';\nfs.readFileSync('/etc/hostname');\n{call};\n"
                hint = self.the_hint(OPEN_READ, code)
                self.assertEqual((hint["path"], hint["code"]), ("/proc/self/environ", "index.mjs:3"))

    def test_native_libraries_and_signals(self):
        code = "try { process.dlopen({ exports: {} }, '/nowhere/evil.node') } catch {}\nprocess.kill(process.pid, 0);\n"
        outcome = run(code, name="index.cjs")
        (library,) = outcome.of("hint", MAP_EXECUTABLE)
        self.assertEqual((library["path"], library["code"]), ("/nowhere/evil.node", "index.cjs:1"))
        (signal,) = outcome.of("hint", DANGEROUS)
        self.assertEqual((signal["name"], signal["code"]), ("kill", "index.cjs:2"))

    def test_evaluated_code_shows_in_the_frames_and_the_line_that_evaluates_is_the_code(self):
        code = "const payload = `process.kill(${process.pid}, 0)`;\nfunction render(text) {\n  return eval(text);\n}\nrender(payload);\n"
        hint = self.the_hint(DANGEROUS, code, name="index.cjs")
        self.assertEqual(hint["code"], "index.cjs:3")
        self.assertEqual(hint["frames"][:2], ["<eval>:1 eval", "index.cjs:3 render"])

    def test_installed_packages_are_passed_over(self):
        package = {"node_modules/left/index.js": "module.exports = () => {\n  require('child_process').execSync('true');\n};\n"}
        hint = self.the_hint(EXEC, "const left = require('left');\nleft();\n", name="index.cjs", files=package)
        self.assertEqual(hint["code"], "index.cjs:2")

    def test_texts_of_any_length_and_kind_are_cut_to_one_datagram(self):
        code = """
            const { spawnSync } = require('child_process');
            const odd = ['x'.repeat(1 << 17), '\\u00e9'.repeat(200), '\\ud800', '', '\\n'];
            spawnSync('y'.repeat(5000), [...odd, ...Array(50).fill('z'.repeat(300))]);
            process.dlopen({}, '\\u20ac'.repeat(2000));
            """
        outcome = run(code, name="index.cjs")
        (child,) = outcome.of("hint", EXEC)
        self.assertEqual((len(child["path"]), len(child["arguments"])), (1024, 8))
        self.assertEqual([len(argument.encode()) for argument in child["arguments"][1:6]], [128, 128, 3, 0, 1])
        (library,) = outcome.of("hint", MAP_EXECUTABLE)
        self.assertEqual(library["path"], "\u20ac" * 341)

    def test_worker_threads_have_it_too(self):
        worker = {"worker.mjs": "import { execSync } from 'child_process';\nexecSync('true');\n"}
        code = "import { Worker } from 'worker_threads';\nnew Worker(new URL('./worker.mjs', import.meta.url));\n"
        self.assertEqual(self.the_hint(EXEC, code, files=worker)["code"], "worker.mjs:2")


if __name__ == "__main__":
    unittest.main()
