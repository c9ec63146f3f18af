// Says what a function, its children and its threads see of NODE_OPTIONS and the environment.
'use strict';
const { execFileSync, fork } = require('child_process');
const { Worker, SHARE_ENV } = require('worker_threads');

const NAMES = ['NODE_OPTIONS', 'NODE_PATH', 'RINGFENCE_CODE', 'RINGFENCE_REPORT_FD'];
const SHOW = `${JSON.stringify(NAMES)}.map((name) => [name in process.env, process.env[name]])`;
const shown = (code) => execFileSync(process.execPath, ['-e', `console.log(JSON.stringify(${code}))`]).toString();
const inThread = (options) =>
  new Promise((done, fail) => {
    const worker = new Worker(`require('worker_threads').parentPort.postMessage(${SHOW})`, { eval: true, ...options });
    worker.on('message', done).on('error', fail);
  });
const forked = () =>
  new Promise((done, fail) => {
    fork(__filename, ['child']).on('message', done).on('error', fail);
  });

if (process.argv[2] === 'child') {
  process.send([eval(SHOW), process.execArgv]);
  process.disconnect();
}

exports.handler = async () => ({
  own: eval(SHOW),
  names: Object.keys(process.env).filter((name) => !/^(AWS_|_X_|RINGFENCE_|LD_PRELOAD)/.test(name)).sort(),
  arguments: [process.execArgv, process.argv.length],
  child: shown(SHOW),
  fork: await forked(),
  shell: execFileSync('/bin/sh', ['-c', 'echo ${NODE_OPTIONS-absent}']).toString(),
  thread: await inThread({}),
  shared: await inThread({ env: SHARE_ENV }),
  given: await inThread({ env: { A: '1' } }),
});
