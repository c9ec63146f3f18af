// Workers as Node programs make them: forked, clustered, threads; with and without an environment of their own.
const { fork, spawn, execFile } = require('node:child_process');
const cluster = require('node:cluster');
const { once } = require('node:events');
const { Worker } = require('node:worker_threads');
const { promisify } = require('node:util');

const asked = async (child, number) => {
  child.send(number);
  const [answer] = await once(child, 'message');
  return answer;
};
async function forked(options) {
  const child = fork(`${__dirname}/worker.js`, [], options);
  const answers = [await asked(child, 3), await asked(child, 4)];
  child.disconnect();
  return [...answers, ...await once(child, 'exit')];
}
async function clustered() {
  cluster.setupPrimary({ exec: `${__dirname}/server.js` });
  const workers = [cluster.fork(), cluster.fork()];
  const addresses = await Promise.all(workers.map(async (worker) => (await once(worker, 'listening'))[0]));
  const { port } = addresses[0];
  const answers = await Promise.all([1, 2, 3, 4].map(async (n) => (await fetch(`http://127.0.0.1:${port}/${n}`)).text()));
  const ends = workers.map((worker) => once(worker, 'exit'));
  workers.forEach((worker) => worker.kill());
  await Promise.all(ends);
  return [...answers, addresses.every((each) => each.port === port)];
}
async function threads() {
  const workers = Array.from({ length: 4 }, (_, number) => new Worker(`${__dirname}/thread.js`, { workerData: number }));
  return Promise.all(workers.map(async (worker) => (await once(worker, 'message'))[0]));
}
async function detached() {
  const child = spawn(process.execPath, ['-e', 'process.stdout.write(String(6 * 7))'], { detached: true, stdio: ['ignore', 'pipe', 'ignore'] });
  const text = Buffer.concat(await child.stdout.toArray()).toString();
  return [text, ...await once(child, 'close').catch(() => [])];
}
exports.handler = async () => ({
  forked: await forked(), 'forked, own environment': await forked({ env: { ONLY: '1' } }), clustered: await clustered(), threads: await threads(),
  detached: await detached(), file: (await promisify(execFile)(process.execPath, ['-p', '1 + 1'])).stdout,
});
