"""Reads of credentials are reported once with their line, and process.env is in all else what it was."""

import json
import unittest

from run import REPORT_FD, SHIM, run

READ = 9


def reads(code, **keywords):
    outcome = run(code, **keywords)
    assert outcome.stderr == "", outcome.stderr
    return [(message["name"], message["code"]) for message in outcome.of("violation", READ)]


class Reads(unittest.TestCase):
    def test_a_read_names_variable_and_line(self):
        self.assertEqual(reads("//\nconst key = process.env.AWS_SECRET_ACCESS_KEY;\n"), [("AWS_SECRET_ACCESS_KEY", "index.mjs:2")])
        self.assertEqual(reads("import { env } from 'node:process';\nenv['AWS_SESSION_TOKEN'];\n"), [("AWS_SESSION_TOKEN", "index.mjs:2")])

    def test_a_copy_that_is_made_for_a_child_is_no_read(self):
        head = "import { spawn, spawnSync, execFileSync } from 'child_process';\nconst ended = (child) => new Promise((ok) => child.on('close', ok));\n"
        for code in (
            "await ended(spawn('true', { env: { ...process.env, A: '1' } }));",
            "spawnSync('true', { env: { ...process.env, A: '1' } });",
            "const env = Object.assign({}, process.env); env.A = '1'; execFileSync('true', { env });",
        ):
            with self.subTest(code):
                self.assertEqual(reads(head + code), [])
        secret = ("AWS_SECRET_ACCESS_KEY", "index.mjs:3")
        for code in (
            "const copy = { ...process.env }; spawnSync('true', { env: { A: '1' } });",
            "const copy = { ...process.env }; await null; await new Promise(setImmediate); spawnSync('true', { env: copy });",
            "const copy = { ...process.env }; process.exit(0);",
            "const one = process.env.AWS_SECRET_ACCESS_KEY; spawnSync('true', { env: { AWS_SECRET_ACCESS_KEY: one } });",
        ):
            with self.subTest(code):
                self.assertEqual(reads(head + code), [secret])

    def test_a_read_in_a_loop_is_one_and_another_invocation_is_another(self):
        code = """
            for (const trace of ['Root=1', 'Root=1', 'Root=2']) {
              process.env._X_AMZN_TRACE_ID = trace;
              process.env.AWS_SECRET_ACCESS_KEY;
            }
            """
        self.assertEqual(reads(code), [("AWS_SECRET_ACCESS_KEY", "index.mjs:3")] * 2)

    def test_a_read_of_everything_is_one(self):
        for expression in (
            "({ ...process.env })",
            "JSON.stringify(process.env)",
            "Object.entries(process.env)",
            "Object.assign({}, process.env)",
            "Object.values(process.env)",
            "(await import('node:util')).inspect(process.env)",
        ):
            with self.subTest(expression):
                self.assertEqual(reads(f"//\n//\nconst all = {expression};\n"), [("AWS_SECRET_ACCESS_KEY", "index.mjs:3")])

    def test_tests_for_presence_names_and_other_variables_are_no_reads(self):
        for expression in (
            "'AWS_SECRET_ACCESS_KEY' in process.env",
            "Object.keys(process.env)",
            "process.env.hasOwnProperty('AWS_SECRET_ACCESS_KEY')",
            "Object.hasOwn(process.env, 'AWS_SECRET_ACCESS_KEY')",
            "process.env.PATH",
            "process.env.AWS_REGION",
        ):
            with self.subTest(expression):
                self.assertEqual(reads(f"const it = {expression};\n"), [])

    def test_a_package_that_goes_through_everything_is_told_once(self):
        package = "module.exports = () => Object.entries(process.env).filter(([name]) => name.startsWith('APP_'));\n"
        code = "for (const trace of ['1', '2']) { process.env._X_AMZN_TRACE_ID = trace; require('settings')(); }\n"
        outcome = run(code, name="index.cjs", files={"node_modules/settings/index.js": package})
        (told,) = outcome.of("violation", READ)
        self.assertEqual(told["detail"], "in a copy of the whole environment, by the package settings")

    def test_values_that_a_getter_reads_while_the_names_are_gone_through_are_one_read(self):
        code = """
            const get = (name) => process.env[name];
            const names = Object.keys(process.env).filter((name) => get(name) !== undefined);
            const token = get('AWS_SESSION_TOKEN');
            """
        self.assertEqual(reads(code), [("AWS_SESSION_TOKEN", "index.mjs:1"), ("AWS_SECRET_ACCESS_KEY", "index.mjs:2")])

    def test_without_a_word_of_the_policy_nothing_is_put_in_place(self):
        outcome = run("console.log(process.env.AWS_SECRET_ACCESS_KEY);\n", environment={"RINGFENCE_CODE": ""})
        self.assertEqual((outcome.stdout, outcome.messages), ("the-secret\n", []))

    def test_what_node_copies_for_children_and_threads_is_no_read(self):
        code = """
            import { execSync, spawn } from 'child_process';
            import { Worker } from 'worker_threads';
            execSync('true');
            spawn('true', { env: process.env });
            new Worker('1', { eval: true });
            """
        self.assertEqual(reads(code), [])

    def test_sdks_and_the_runtime_client_may_read(self):
        read = "module.exports = () => process.env.AWS_SECRET_ACCESS_KEY;\n"
        for package in ("@aws-sdk/credential-provider-env", "@smithy/core", "aws-sdk", "aws-lambda-ric"):
            with self.subTest(package):
                files = {f"node_modules/{package}/index.js": read}
                self.assertEqual(reads(f"require('{package}')();\n", name="index.cjs", files=files), [])
        stranger = {"node_modules/aws-sdk-helper/index.js": read}
        self.assertEqual(
            reads("require('aws-sdk-helper')();\n", name="index.cjs", files=stranger), [("AWS_SECRET_ACCESS_KEY", "index.cjs:1")]
        )

    def test_an_sdk_that_was_bundled_into_the_function_may_read_and_the_rest_of_the_bundle_may_not(self):
        provider = (
            "const fromEnv=async()=>{const a=process.env.AWS_ACCESS_KEY_ID,s=process.env.AWS_SECRET_ACCESS_KEY;"
            "if(a&&s)return{a,s};throw new Error('Unable to find environment variable credentials.')};"
        )
        filling = "const filling='" + "x" * 5000 + "';"
        code = f"{provider}{filling}await fromEnv();\n\nconst stolen = process.env.AWS_SECRET_ACCESS_KEY;\n"
        self.assertEqual(reads(code), [("AWS_SECRET_ACCESS_KEY", "index.mjs:3")])

    def test_a_bundled_handler_is_looked_through_before_the_function_runs(self):
        provider = "export const read = () => [process.env.AWS_ACCESS_KEY_ID, 'Unable to find environment variable credentials'];\n"
        filling = "//" + "x" * 100_000 + "\n"
        code = provider + filling + "export const steal = () => process.env.AWS_SESSION_TOKEN;\n"
        # The file is gone when the reads come: only what was seen before can tell.
        caller = """
            import fs from 'fs';
            const { read, steal } = await import('./app.mjs');
            fs.unlinkSync(new URL('./app.mjs', import.meta.url));
            read();
            steal();
            """
        found = reads(caller, files={"app.mjs": code}, environment={"_HANDLER": "app.handler"})
        self.assertEqual(found, [("AWS_SESSION_TOKEN", "app.mjs:3")])

    def test_an_sdk_from_a_writable_place_may_not(self):
        code = "process.env.AWS_SECRET_ACCESS_KEY; // Unable to find environment variable credentials\n"
        outcome = run(
            "import fs from 'fs';\nconst path = `/tmp/ringfence-${process.pid}/node_modules/aws-sdk`;\n"
            "fs.mkdirSync(path, { recursive: true });\n"
            f"fs.writeFileSync(path + '/index.cjs', {code!r});\n"
            "try { await import(path + '/index.cjs') } finally { fs.rmSync(path + '/../..', { recursive: true }) }\n"
        )
        self.assertEqual(len(outcome.of("violation", READ)), 1, outcome.stderr)


class Denied(unittest.TestCase):
    """`credentials.reads = "deny"`: not there for the function's own code, there for SDKs and for children."""

    def run_denied(self, code, words="", **keywords):
        outcome = run(code, environment={"RINGFENCE_CODE": "reads=deny" + words}, **keywords)
        self.assertEqual(outcome.stderr, "")
        return outcome

    def test_the_functions_own_code_finds_no_value_by_any_way_and_each_is_recorded_as_blocked(self):
        for expression in (
            "process.env.AWS_SECRET_ACCESS_KEY",
            "process.env['AWS_SECRET_ACCESS_KEY']",
            "(await import('node:process')).env.AWS_SECRET_ACCESS_KEY",
            "({ ...process.env }).AWS_SECRET_ACCESS_KEY",
            "JSON.parse(JSON.stringify(process.env)).AWS_SECRET_ACCESS_KEY",
            "Object.entries(process.env).find(([, value]) => value === 'the-secret')",
            "Object.values(process.env).find((value) => value === 'the-secret')",
            "Object.assign({}, process.env).AWS_SECRET_ACCESS_KEY",
            "(await import('node:util')).inspect(process.env).includes('the-secret') || undefined",
            "await Promise.resolve('AWS_SECRET_ACCESS_KEY').then(Reflect.get.bind(null, process.env))",
            "Reflect.getOwnPropertyDescriptor(process.env, 'AWS_SECRET_ACCESS_KEY')",
            "structuredClone({ ...process.env }).AWS_SECRET_ACCESS_KEY",
        ):
            with self.subTest(expression):
                outcome = self.run_denied(f"const found = {expression};\nconsole.log(found);\n")
                self.assertEqual(outcome.stdout, "undefined\n")
                told = {(m["name"], m["outcome"], m["rule"]) for m in outcome.of("violation", READ)}
                expected = set() if "getOwnPropertyDescriptor" in expression else {("AWS_SECRET_ACCESS_KEY", 2, 21)}
                self.assertEqual(told, expected)

    def test_a_denied_variable_is_absent(self):
        outcome = self.run_denied("console.log('AWS_SECRET_ACCESS_KEY' in process.env, Object.keys(process.env).includes('AWS_SESSION_TOKEN'))\n")
        self.assertEqual((outcome.stdout, outcome.of("violation", READ)), ("false false\n", []))

    def test_sdks_and_exempted_packages_and_variables_have_them(self):
        read = "module.exports = () => process.env.AWS_SECRET_ACCESS_KEY;\n"
        names = ("@aws-sdk/credential-provider-env", "aws-sdk", "@acme/vault", "stranger")
        code = "console.log(" + ", ".join(f"require('{name}')()" for name in names) + ", process.env.AWS_SESSION_TOKEN);\n"
        files = {f"node_modules/{name}/index.js": read for name in names}
        words = ",reads_variables=AWS_SESSION_TOKEN,reads_packages=@acme/vault"
        outcome = self.run_denied(code, name="index.cjs", files=files, words=words)
        self.assertEqual(outcome.stdout, "the-secret the-secret the-secret undefined the-token\n")
        self.assertEqual([m["outcome"] for m in outcome.of("violation", READ)], [2])

    def test_a_child_that_inherits_has_them_and_a_copy_for_one_has_none_and_neither_is_recorded(self):
        code = """
            import { execFileSync } from 'child_process';
            const count = (options) => execFileSync('env', { encoding: 'utf8', ...options }).split('the-secret').length - 1;
            console.log(count({}), count({ env: process.env }), count({ env: { ...process.env, A: '1' } }));
            """
        outcome = self.run_denied(code)
        self.assertEqual((outcome.stdout, outcome.of("violation", READ)), ("1 1 0\n", []))

    def test_what_the_function_sets_itself_is_its_own(self):
        code = "process.env.AWS_SECRET_ACCESS_KEY = 'mine';\nconsole.log(process.env.AWS_SECRET_ACCESS_KEY);\n"
        outcome = self.run_denied(code)
        self.assertEqual((outcome.stdout, outcome.of("violation", READ)), ("mine\n", []))


SAME = """
    const util = require('util');
    const { execFileSync } = require('child_process');
    const say = (text) => console.log(text);
    const tried = (work) => { try { return work() } catch (error) { return `${error.name} ${error.code} ${error.message}` } };
    delete process.env.NODE_OPTIONS;
    delete process.env.RINGFENCE_REPORT_FD;
    delete process.env.RINGFENCE_CODE;
    process.env.NUMBER = 5;
    process.env.NOTHING = undefined;
    process.env['WITH SPACE'] = 'x';
    say(typeof process.env.NUMBER + process.env.NOTHING);
    say(delete process.env.NOTHING);
    say(delete process.env.NEVER_THERE);
    say('NOTHING' in process.env);
    say('PATH' in process.env);
    say(process.env.NEVER_THERE);
    say(Object.keys(process.env).sort());
    say(JSON.stringify(Object.fromEntries(Object.entries(process.env).sort())));
    say(util.inspect(process.env));
    say(util.inspect({ deep: { deeper: process.env } }, { depth: 0 }));
    const names = [];
    for (const name in process.env) names.push(name);
    say(names);
    say({ ...process.env });
    say(Object.prototype.toString.call(process.env) + String(process.env) + typeof process.env);
    say(util.inspect(Object.getOwnPropertyDescriptor(process.env, 'NUMBER')));
    say(util.inspect(Object.getOwnPropertyDescriptor(process, 'env')).replace(/value: \\{[^]*?\\},/, ''));
    say(process.env.constructor === Object);
    say(Object.getPrototypeOf(process.env) === Object.prototype);
    say(Object.isExtensible(process.env) + ' ' + Object.isFrozen(process.env));
    say(tried(() => { 'use strict'; process.env[Symbol('x')] = 1 }));
    say(tried(() => { process.env.X = Symbol('x') }));
    say(tried(() => Object.defineProperty(process.env, 'Y', { value: 'y' })));
    say(tried(() => Object.defineProperty(process.env, 'Y', { value: 'y', configurable: true, writable: true, enumerable: true }).Y));
    say(tried(() => Object.assign(process.env, { ASSIGNED: '1' }).ASSIGNED));
    say(tried(() => execFileSync('env', { encoding: 'utf8' }).split('\\n').sort().join(' ')));
    say(tried(() => execFileSync('env', { encoding: 'utf8', env: { ...process.env, MORE: '1' } }).split('\\n').sort().join(' ')));
    process.env = { REPLACED: 'yes' };
    say(process.env.REPLACED + process.env.PATH);
    """


class TheSame(unittest.TestCase):
    def test_everything_else_is_as_without_the_hook(self):
        def said(hook):
            outcome = run(SAME, name="index.cjs", hook=hook, environment={"LAMBDA_TASK_ROOT": "/"})
            self.assertEqual((outcome.stderr, outcome.status), ("", 0))
            return outcome.stdout.splitlines()

        self.assertEqual(said(True), said(False))

    def test_it_says_once_what_is_in_place(self):
        code = "new (require('worker_threads').Worker)('1', { eval: true });\n"
        outcome = run(code, name="index.cjs", environment={"RINGFENCE_CODE": "evaluate=report,native=deny,imports=deny"})
        (word,) = outcome.started
        self.assertEqual((word["name"], word["detail"]), ("Node", "reads,native,evaluate,imports"))

    def test_the_options_of_node_are_given_back_and_what_is_ours_is_hidden(self):
        own = f"--require {SHIM}/ringfence.cjs"
        code = "console.log(JSON.stringify([process.env.NODE_OPTIONS ?? null, Object.keys(process.env).filter((name) => /^RING/.test(name)), 'RINGFENCE_CODE' in process.env]));\n"
        for given, shown in (
            (own, None),
            (f"{own} ", ""),
            (f"{own} --no-warnings --enable-source-maps", "--no-warnings --enable-source-maps"),
            (f"--no-warnings {own}", "--no-warnings"),
            (f"--no-warnings {own} --enable-source-maps", "--no-warnings --enable-source-maps"),
        ):
            with self.subTest(given):
                outcome = run(code, name="index.cjs", environment={"NODE_OPTIONS": given, "RINGFENCE_CODE": "native=deny"})
                self.assertEqual(json.loads(outcome.stdout), [shown, [], False], outcome.stderr)

    def test_without_a_report_socket_nothing_is_put_in_place(self):
        code = "console.log(require('util').types.isProxy(process.env));\n"
        self.assertEqual(run(code, name="index.cjs").stdout, "true\n")
        for number in ("", "none", "-1"):
            outcome = run(code, name="index.cjs", environment={"RINGFENCE_REPORT_FD": number})
            self.assertEqual((outcome.stdout, outcome.stderr), ("false\n", ""))

    def test_a_socket_that_is_gone_or_has_become_another_file_is_survived_and_left_alone(self):
        code = """
            const fs = require('fs');
            fs.closeSync(DESCRIPTOR);
            REPLACE
            require('child_process').execSync('true');
            process.env.AWS_SECRET_ACCESS_KEY;
            console.log(OPENED);
            """
        outcome = run(code.replace("REPLACE", "").replace("DESCRIPTOR", str(REPORT_FD)).replace("OPENED", "'alive'"), name="index.cjs")
        self.assertEqual((outcome.stdout, outcome.stderr, outcome.messages), ("alive\n", "", []))
        outcome = run("console.log('alive', process.env.AWS_SESSION_TOKEN)", environment={"RINGFENCE_REPORT_FD": "1"})
        self.assertEqual((outcome.stdout, outcome.stderr), ("alive the-token\n", ""))

    def test_warnings_about_deprecations_stay_the_functions_own(self):
        outcome = run("console.log('alive', process.noDeprecation)\n", arguments=["--pending-deprecation", "--throw-deprecation"])
        self.assertEqual((outcome.stdout, outcome.stderr), ("alive undefined\n", ""))


if __name__ == "__main__":
    unittest.main()
