"""What a scope denies does not happen, is recorded with its line, and holds for its own work only."""

import socket
import unittest

from run import SHIM, run

EXEC, CONNECT, SEND, RESOLVE, OPEN_READ, OPEN_WRITE = 1, 3, 4, 5, 7, 8
REPORTED, BLOCKED = 1, 2
PROCESS_ALLOW, EGRESS_ALLOW, TMP_WRITES, FILES_DENY_READ = 1, 9, 15, 18

HEAD = f"""import {{ scope, configure }} from '{SHIM}/scopes.cjs';
import child from 'child_process'; import dgram from 'dgram'; import dns from 'dns'; import fs from 'fs'; import net from 'net'; import util from 'util';
const say = (...what) => console.log(...what);
const tried = async (work) => {{ try {{ await work(); return 'done' }} catch (error) {{ return error.code ?? error.cause?.code ?? String(error) }} }};
const run = () => tried(() => util.promisify(child.execFile)('true'));
const all = {{ tmp: 'deny', egress: 'deny', children: 'deny', files: 'deny' }};
"""


class Scopes(unittest.TestCase):
    def said(self, code, expected, **keywords):
        outcome = run(HEAD + code, **keywords)
        self.assertEqual((outcome.stdout.split(), outcome.stderr), (expected.split(), ""))
        return outcome

    def test_what_is_denied_fails_as_if_the_system_refused_and_is_recorded(self):
        connect = "new Promise((ok, no) => net.connect(443, '203.0.113.9').on('error', no))"
        send = "new Promise((ok, no) => dgram.createSocket('udp4').unref().send('x', 53, '203.0.113.9', (e) => e ? no(e) : ok()))"
        for call, action, rule in (
            ("util.promisify(child.exec)('true')", EXEC, PROCESS_ALLOW),
            ("child.execFileSync('true')", EXEC, PROCESS_ALLOW),
            (connect, CONNECT, EGRESS_ALLOW),
            (send, SEND, EGRESS_ALLOW),
            ("fetch('http://evil.example/')", RESOLVE, EGRESS_ALLOW),
            ("dns.promises.lookup('evil.example')", RESOLVE, EGRESS_ALLOW),
            ("dns.promises.resolve4('evil.example')", RESOLVE, EGRESS_ALLOW),
            ("fs.writeFileSync('/tmp/ringfence-x', 'x')", OPEN_WRITE, TMP_WRITES),
            ("fs.readFileSync('/tmp/ringfence-x', 'utf8')", OPEN_READ, TMP_WRITES),
            ("fs.promises.writeFile('/tmp/ringfence-x', 'x')", OPEN_WRITE, TMP_WRITES),
            ("util.promisify(fs.readFile)('/tmp/ringfence-x')", OPEN_READ, TMP_WRITES),
            ("fs.promises.mkdir('/tmp/ringfence-x')", OPEN_WRITE, TMP_WRITES),
            ("fs.renameSync('/var/tmp/x', '/tmp/ringfence-x')", OPEN_WRITE, TMP_WRITES),
            ("fs.readFileSync(new URL(import.meta.url))", OPEN_READ, FILES_DENY_READ),
        ):
            with self.subTest(call):
                outcome = self.said(f"say(await scope(all, () => tried(() => {call})));\nprocess.exit();\n", "EACCES")
                violations = [each for each in outcome.messages if each["kind"] == "violation"]
                self.assertTrue(violations, outcome.messages)
                told = {key: violations[0][key] for key in ("action", "rule", "outcome", "plane", "code")}
                expected = {"action": action, "rule": rule, "outcome": BLOCKED, "plane": 2, "code": "index.mjs:7"}
                self.assertEqual(told, expected)

    def test_report_lets_it_happen(self):
        outcome = self.said("say(await scope({ children: 'report' }, run));\n", "done")
        (message,) = outcome.of("violation", EXEC)
        self.assertEqual(message["outcome"], REPORTED)

    def test_it_holds_for_its_own_work_and_what_that_starts_and_is_never_loosened(self):
        code = """
            let enter, leave;
            const entered = new Promise((ok) => (enter = ok)), left = new Promise((ok) => (leave = ok));
            const inside = scope({ children: 'deny' }, async () => {
              enter();
              await left;
              const later = new Promise((ok) => setTimeout(() => ok(run()), 1));
              return [await run(), await later, await scope({ children: 'allow', tmp: 'deny' }, run)].join(' ');
            });
            await entered;
            say(await run());
            leave();
            say(await inside, await run());
            """
        self.said(code.replace("\n            ", "\n"), "done EACCES EACCES EACCES done")

    def test_loopback_is_no_egress(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            connect = f"new Promise((ok, no) => {{ const it = net.connect({listener.getsockname()[1]}, 'localhost', () => ok(it.destroy())).on('error', no) }})"
            self.said(f"say(await scope({{ egress: 'deny' }}, () => tried(() => {connect})));\n", "done")

    def test_globs_imports_and_symbolic_links(self):
        code = """
            fs.symlinkSync('/tmp', new URL('./link', import.meta.url));
            await scope({ files: ['/etc/host*', new URL('.', import.meta.url).pathname + '*'], tmp: 'deny' }, async () => {
              say(await tried(() => fs.readFileSync('/etc/hostname')), await tried(() => fs.readFileSync('/etc/passwd')));
              say((await import('./late.mjs')).default, await tried(() => fs.readFileSync(new URL('./late.mjs', import.meta.url))));
            });
            say(await scope({ tmp: 'deny' }, () => tried(() => fs.writeFileSync(new URL('./link/x', import.meta.url), ''))));
            """
        files = {"late.mjs": "export default 'imported';\n"}
        self.said(code.replace("\n            ", "\n"), "EACCES done imported EACCES EACCES", files=files)

    def test_configure_takes_function_shields_words_and_only_tightens(self):
        code = """
            configure({ policy: { create_child_process: 'block', outbound_connectivity: 'alert' }, disable_analytics: true });
            configure({ create_child_process: 'allow', read_handler: 'block' });
            say(await run(), await tried(() => fs.readFileSync(new URL(import.meta.url))));
            """
        self.said(code.replace("\n            ", "\n"), "EACCES EACCES")

    def test_mistakes_are_said_and_without_the_hook_there_is_no_scope(self):
        code = "for (const work of [() => scope({ tmp: 'block' }), () => scope({ net: 'deny' }), () => configure({ read_handler: 'deny' })]) try { work() } catch (error) { say(error.message) }\n"
        self.assertEqual(
            run(HEAD + code).stdout.splitlines(),
            [
                "tmp: 'block': expected 'deny', 'report' or 'allow'",
                "net: expected one of tmp, egress, children, files",
                "read_handler: 'deny': expected block, alert or allow",
            ],
        )
        outcome = run(HEAD + "say(await tried(() => scope({ tmp: 'deny' }, run)));\n", hook=False)
        self.assertIn("the hook is not loaded", outcome.stdout)

    def test_where_node_forbids_the_hook_what_a_scope_needs_there_is_none_either(self):
        known = run("console.log(['--permission', '--experimental-permission'].find((each) => process.allowedNodeEnvironmentFlags.has(each)))")
        flag = known.stdout.strip()
        if flag == "undefined":
            self.skipTest("this Node has no permission model")
        code = "try { scope({ tmp: 'deny' }, run) } catch (error) { say(error.message) }\n"
        outcome = run(HEAD + code, arguments=[flag, "--allow-fs-read=*", "--no-warnings"])
        self.assertIn("the hook is not loaded", outcome.stdout, outcome.stderr)


if __name__ == "__main__":
    unittest.main()
