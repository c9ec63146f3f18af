// Plays the steps that the event names, and says of each whether it got through. Steps are parted by ";".
const { spawn, spawnSync } = require('node:child_process');
const dns = require('node:dns/promises');
const fs = require('node:fs');
const net = require('node:net');
const timers = require('node:timers/promises');

const HOLD = 500; // milliseconds: long enough for what looks at connections from outside

const opened = (emitter, event) =>
  new Promise((resolve, reject) => emitter.once(event, resolve).once('error', reject));

async function connect(address, port) {
  const socket = net.connect(Number(port), address);
  await opened(socket, 'connect');
  await timers.setTimeout(HOLD);
  socket.destroy();
  return 'through';
}

async function bind(address, port) {
  const server = net.createServer().listen(Number(port), address);
  await opened(server, 'listening');
  await timers.setTimeout(HOLD);
  server.close();
  return 'through';
}

async function api() {
  const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(':');
  const socket = net.connect(Number(port), host);
  await opened(socket, 'connect');
  socket.write('GET /truth HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  await opened(socket, 'data');
  socket.destroy();
  return 'through';
}

const STEPS = {
  exec: (...argv) => {
    const done = spawnSync(argv[0], argv.slice(1), { encoding: 'utf8', timeout: 20000 });
    if (done.error) throw done.error;
    return done.signal === 'SIGKILL' ? 'killed' : done.stdout.trim();
  },
  spawn: async (...argv) => {
    const child = spawn(argv[0], argv.slice(1), { stdio: 'ignore' });
    await opened(child, 'spawn');
    child.unref();
    await timers.setTimeout(50);
    return 'through';
  },
  connect,
  resolve: (name) => dns.lookup(name).then(() => 'through'),
  bind,
  api,
  read: (path) => (fs.readFileSync(path).length ? 'through' : 'empty'),
  write: (path) => fs.writeFileSync(path, 'x') ?? 'through',
  getenv: (name) => (process.env[name] ? 'through' : 'absent'),
  evaluate: (text) => Function('return ' + text)(),
  deserialize: (data) => require('node-serialize').unserialize(data).run,
  native: () => (process.binding('natives') ? 'through' : 'empty'),
  plant: (path) => fs.writeFileSync(path, "module.exports = 'through';\n") ?? 'through',
  imports: (path) => require(path),
};

exports.handler = async (event) => {
  const results = [];
  let step = [];
  for (const word of [...event.steps, ';']) {
    if (word !== ';') {
      step.push(word);
      continue;
    }
    try {
      results.push(String(await STEPS[step[0]](...step.slice(1))));
    } catch (fault) {
      results.push(String(fault.code ?? fault).slice(0, 120));
    }
    step = [];
  }
  return { results };
};
