"""The runtime client, as far as the hook knows it: a native module whose `next` hands out events as text.

The module is a file of the client's name, and the loader that would open it is told, before the hook comes, what is in it.
"""

import contextlib
import json
import tempfile

from run import SHIM, run

LOADER = """
process.dlopen = function dlopen(module, path) {
  if (!path.endsWith('rapid-client.node')) throw new Error(path);
  const bodies = JSON.parse(require('fs').readFileSync(`${process.env.LAMBDA_TASK_ROOT}/events.json`));
  module.exports = { next: async () => (bodies.length ? { bodyJson: bodies.shift(), headers: {} } : undefined) };
};
"""
CLIENT = """
const { next } = require('./rapid-client.node');
exports.run = async (handler) => {
  for (let number = 1; ; number += 1) {
    const request = await next();
    if (!request) return;
    process.env._X_AMZN_TRACE_ID = `Root=${number}`;
    try {
      console.log(await handler(JSON.parse(request.bodyJson)));
    } catch (error) {
      console.log(error.code || `${error.name}: ${error.message}`);
    }
  }
};
"""
FOLDER = "node_modules/aws-lambda-ric"


def invoke(handler, *events, words="", files=(), options="", variables=(), **keywords):
    """Hands the events to what the file `index.cjs` exports as `handler`."""
    bodies = json.dumps([json.dumps(event) for event in events])
    with open_loader() as loader:
        return run(
            f"{handler}\nrequire('aws-lambda-ric').run(exports.handler);\n",
            name="index.cjs",
            files={f"{FOLDER}/index.js": CLIENT, f"{FOLDER}/rapid-client.node": "", "events.json": bodies, **dict(files)},
            environment={
                "RINGFENCE_CODE": words,
                "NODE_OPTIONS": f"--require {loader} --require {SHIM}/ringfence.cjs {options}",
                **dict(variables),
            },
            **keywords,
        )


@contextlib.contextmanager
def open_loader():
    with tempfile.NamedTemporaryFile("w", suffix=".cjs", dir="/var/tmp") as file:
        file.write(LOADER)
        file.flush()
        yield file.name
