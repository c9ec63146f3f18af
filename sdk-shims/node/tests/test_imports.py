"""What `code.imports` of the policy speaks of is found on every way to a module, and denied where it says so."""

import os
import shutil
import tempfile
import unittest

from run import NODE, SHIM, run

IMPORT = 17
REPORTED, BLOCKED = 1, 2
RULE = 30

TRIED = "const tried = async (work) => { try { return await work() } catch (error) { return error.code ?? error.message } };\n"
# The ways; each comes to 'through' where the module ran. PLACE is the folder that can be written.
WAYS = {
    "require": "require('PLACE/planted.cjs')",
    "require of a link in the package's folder": "require(link('PLACE/planted.cjs'))",
    "createRequire": "require('module').createRequire('PLACE/x.js')('./planted.cjs')",
    "Module._load": "require('module')._load('PLACE/planted.cjs')",
    "another module's require": "process.mainModule.require('PLACE/planted.cjs')",
    "by /proc": "require('/proc/self/rootPLACE/planted.cjs')",
    "import()": "import('PLACE/planted.mjs').then((m) => m.default)",
    "import() of a URL": "import('file://PLACE/planted.mjs').then((m) => m.default)",
    "import() of a CommonJS module": "import('PLACE/planted.cjs').then((m) => m.default)",
    "a worker": "worked('PLACE/worker.cjs')",
    "a worker without the hook": "worked('PLACE/worker.cjs', { execArgv: [], env: {} })",
    "a worker by URL": "worked(new URL('file://PLACE/worker.cjs'))",
    "a child's main script": "ran(['PLACE/prints.cjs'])",
    "a child's --require": "ran(['--require', 'PLACE/prints.cjs', '-e', '0'])",
    "a child's --import": "ran(['--import', 'PLACE/prints.mjs', '-e', '0'])",
    "NODE_OPTIONS of a child": "ran(['-e', '0'], ' --require PLACE/prints.cjs')",
    "require after chdir": "(process.chdir('PLACE'), require(require('path').resolve('planted.cjs')))",
}
HELP = """
const worked = (program, options) => new Promise((resolve, reject) => {
  const worker = new (require('worker_threads').Worker)(program, options);
  worker.on('message', resolve).on('error', reject).on('exit', () => resolve('nothing'));
});
const ran = (words, more = '') => {
  const env = { ...process.env, NODE_OPTIONS: `--require SHIM/ringfence.cjs${more}`, RINGFENCE_REPORT_FD: '960', RINGFENCE_CODE: 'WORDS' };
  const out = require('child_process').spawnSync(process.execPath, words, { env, stdio: ['ignore', 'pipe', 'pipe', ...Array(957).fill('ignore'), 960] });
  return out.stdout.toString() || /E[A-Z]+/.exec(out.stderr.toString())?.[0];
};
const link = (path) => { const at = __dirname + '/link.cjs'; require('fs').symlinkSync(path, at); return at; };
"""
MODULES = {
    "planted.cjs": "module.exports = 'through';\n",
    "planted.mjs": "export default 'through';\n",
    "worker.cjs": "require('worker_threads').parentPort.postMessage('through');\n",
    "prints.cjs": "process.stdout.write('through');\n",
    "prints.mjs": "process.stdout.write('through');\n",
    "data.json": '"through"\n',
}


class Imports(unittest.TestCase):
    def setUp(self):
        self.place = tempfile.mkdtemp(dir="/tmp")
        self.addCleanup(shutil.rmtree, self.place)
        for name, text in MODULES.items():
            with open(os.path.join(self.place, name), "w") as out:
                out.write(text)

    def found(self, way, words):
        code = TRIED + HELP + f"(async () => console.log(await tried(async () => {way})))();\n"
        code = code.replace("PLACE", self.place).replace("SHIM", str(SHIM)).replace("WORDS", words)
        outcome = run(code, name="index.cjs", environment={"RINGFENCE_CODE": words})
        messages = outcome.of("violation", IMPORT)
        assert all(message["rule"] == RULE for message in messages), messages
        return outcome.stdout.strip(), {(m["path"], m["outcome"]) for m in messages}

    def test_every_way_to_a_module_that_can_be_written_is_found_and_denied(self):
        for name, way in WAYS.items():
            with self.subTest(name):
                answer, found = self.found(way, "imports=report")
                self.assertEqual((answer, [outcome for _, outcome in found]), ("through", [REPORTED]))
                self.assertTrue(all(path.startswith(self.place) for path, _ in found), found)
                answer, found = self.found(way, "imports=deny")
                self.assertEqual((answer, [outcome for _, outcome in found]), ("EACCES", [BLOCKED]))

    def test_what_is_no_import_is_left_alone(self):
        for way in (
            "require('PLACE/data.json')",
            "require('fs').readFileSync('PLACE/planted.cjs', 'utf8') && 'through'",
            "require('fs').promises.readFile('PLACE/planted.cjs').then(() => 'through')",
            "require('os') && import('path').then(() => 'through')",
        ):
            with self.subTest(way):
                self.assertEqual(self.found(way, "imports=deny"), ("through", set()))

    def test_without_a_word_nothing_is_looked_at(self):
        self.assertEqual(self.found("require('PLACE/planted.cjs')", "native=deny"), ("through", set()))


if __name__ == "__main__":
    unittest.main()
