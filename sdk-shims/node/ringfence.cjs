// Puts Ringfence's watches into a Node process: on the few native functions that every way to a child process, a
// connection, a name or a library goes through, and on process.env.
//
// It decides only what is worth a look; `hints.cjs` and `reads.cjs` say what about it and are loaded when there is
// something to say for the first time. `node --require` (NODE_OPTIONS) runs this file before the function's code, in
// every thread, so everything here counts as init time. Nothing here prints, and none of its faults goes outside.
'use strict';

const { isMainThread } = require('worker_threads');

const DESCRIPTOR = /^[0-9]{1,6}$/;
/** How Node's native functions say that something is not permitted. */
const EACCES = -13;
const denied = () => EACCES;
/** What the launcher says to the hook. Worker threads read it from the real environment; the function and its children do
 * not see it. */
const OURS = new Set(['RINGFENCE_REPORT_FD', 'RINGFENCE_CODE']);
/** Our own way to Node's bindings, past what is put in front of it. */
const bindings = process.binding;

/** Loads the part that speaks, once. */
const speaker = once(() => require('./hints.cjs'));
const reader = once(() => require('./reads.cjs'));

/** Whether the evaluation of text is watched already. */
let watched = false;

const hooked = start();

function start() {
  withdraw(process.env);
  if (!DESCRIPTOR.test(process.env.RINGFENCE_REPORT_FD || '')) return false;
  // It reads the descriptor's number, which the function does not see.
  const channel = require('./channel.cjs');
  for (const watch of [libraries, signals, debuggers, requests, bundles, exits]) installed(watch);
  // What the policy's words need is in place where each of their parts is.
  const served = [
    ['native', below],
    ['evaluate', evaluations],
    ['deserialize', evaluations],
    ['imports', imports],
  ].filter(([key, watch]) => installed(watch) && word(key)).map(([key]) => key);
  // Scopes build on these: they must not seem to hold where one is missing.
  const complete = [children, streams, datagrams, names, files].map(installed).every(Boolean);
  if (installed(environment)) served.unshift('reads');
  if (isMainThread) sayWhatServes(channel, served);
  return complete;
}

/** Tells the agent what is in place: it claims only that. */
function sayWhatServes({ send }, served) {
  const wire = require('./wire.cjs');
  wire.begin(wire.kind.HOOK_UP);
  wire.number(wire.tag.PID, process.pid);
  wire.field(wire.tag.NAME, 'Node');
  wire.field(wire.tag.DETAIL, served.join(','));
  send();
}

/** Gives NODE_OPTIONS back as the function and its children would see it without us: the launcher put our option in front,
 * with a blank behind it where there was a value. Worker threads are made with the options that Node has read. */
function withdraw(variables) {
  const own = `--require ${__filename}`;
  const value = variables.NODE_OPTIONS || '';
  const at = ` ${value} `.indexOf(` ${own} `);
  if (at < 0) return;
  if (value === own) delete variables.NODE_OPTIONS;
  else variables.NODE_OPTIONS = at === 0 ? value.slice(own.length + 1) : value.slice(0, at - 1) + value.slice(at + own.length);
}

function installed(watch) {
  try {
    watch();
    return true;
  } catch {
    // A runtime that lacks the function, or forbids it (the permission model): the others still stand.
    return false;
  }
}

function once(load) {
  let loaded;
  return () => (loaded === undefined ? (loaded = load()) : loaded);
}

/** Node's own binding object. Its deprecation is for documentation only, and must not show as a warning. */
function binding(name) {
  const own = Object.getOwnPropertyDescriptor(process, 'noDeprecation');
  process.noDeprecation = true;
  try {
    return bindings.call(process, name);
  } finally {
    if (own) Object.defineProperty(process, 'noDeprecation', own);
    else delete process.noDeprecation;
  }
}

/** Replaces `holder[name]` by a function that first calls `before` with the same `this` and arguments. Where that gives
 * a function (a scope denies the call), it is called instead. */
function precede(holder, name, before) {
  const original = holder[name];
  if (typeof original !== 'function') return;
  const replacement = function (...given) {
    let instead;
    try {
      instead = before.apply(this, given);
    } catch {
      // What cannot be said is not said.
    }
    return typeof instead === 'function' ? instead.call(this, original, given) : Reflect.apply(original, this, given);
  };
  for (const property of ['name', 'length']) {
    Object.defineProperty(replacement, property, { value: original[property], configurable: true });
  }
  const { writable = true, enumerable = true, configurable = true } = Object.getOwnPropertyDescriptor(holder, name) || {};
  Object.defineProperty(holder, name, { value: replacement, writable, enumerable, configurable });
}

/** Lets `made` see each object that `new holder[name](…)` gives. */
function onConstruction(holder, name, made) {
  holder[name] = new Proxy(holder[name], {
    construct(target, given, newTarget) {
      const object = Reflect.construct(target, given, newTarget);
      try {
        made(object, given);
      } catch {
        // As above.
      }
      return object;
    },
  });
}

/** Fails as a spawn that the system refused: its pipes are made, and nothing is executed, because no process can enter
 * a folder that is none. */
function unspawned(original, given) {
  const nowhere = '/dev/null/';
  const [options, ...rest] = given;
  if (typeof options === 'object') Reflect.apply(original, this, [{ ...options, cwd: nowhere }]);
  else Reflect.apply(original, this, [options, rest[0], nowhere, ...rest.slice(2)]);
  return EACCES;
}

function isStringOrList(value, index) {
  return index === 0 || Array.isArray(value);
}

/** child_process, cluster: spawn, exec, execFile, fork, and their synchronous forms. */
function children() {
  // One object of options, or (in late 24) one argument each.
  const spawned = (...given) => {
    const [file, args, pairs] = typeof given[0] === 'object' ? [given[0].file, given[0].args, given[0].envPairs] : given.filter(isStringOrList);
    reader().given(pairs);
    return speaker().executed(file, args);
  };
  precede(binding('process_wrap').Process.prototype, 'spawn', (...given) => spawned(...given) && unspawned);
  const nothing = () => ({ error: EACCES, pid: 0, status: null, signal: null, output: null });
  precede(binding('spawn_sync'), 'spawn', (...given) => spawned(...given) && nothing);
  const failed = () => {
    throw Object.assign(new Error('process.execve: EACCES: permission denied by a scope'), { code: 'EACCES', errno: EACCES });
  };
  precede(process, 'execve', (path, given) => speaker().executed(path, given) && failed);
}

/** net, tls, http, https, http2, fetch: where a connection's handle is made, the function is still on the stack. */
function streams() {
  const tcp = binding('tcp_wrap');
  const { prototype } = tcp.TCP;
  for (const name of ['connect', 'connect6']) {
    precede(prototype, name, function (_request, address, port) {
      return speaker().connected(this, address, port) && denied;
    });
  }
  for (const name of ['bind', 'bind6']) precede(prototype, name, (address, port) => speaker().bound(address, port));
  onConstruction(tcp, 'TCP', (handle, [kind]) => {
    if (kind === tcp.constants.SOCKET) speaker().remember(handle);
  });
}

/** dgram: a send looks its address up first, so its place is taken where the function calls it. */
function datagrams() {
  const udp = binding('udp_wrap');
  const { prototype } = udp.UDP;
  for (const name of ['send', 'send6']) {
    precede(prototype, name, function (_request, _list, _length, port, address) {
      return typeof address === 'string' && speaker().sent(this, address, port) && denied;
    });
  }
  for (const name of ['connect', 'connect6']) {
    precede(prototype, name, function (address, port) {
      return speaker().connected(this, address, port) && denied;
    });
  }
  for (const name of ['bind', 'bind6']) precede(prototype, name, (address, port) => speaker().bound(address, port));
  const calls = once(() => {
    const { Socket } = require('dgram');
    for (const name of ['send', 'connect']) {
      precede(Socket.prototype, name, function () {
        speaker().remember(this);
      });
    }
    return true;
  });
  onConstruction(udp, 'UDP', (handle) => {
    calls();
    speaker().remember(handle);
  });
}

/** dns.lookup by way of the C library, dns.resolve* by c-ares. */
function names() {
  const cares = binding('cares_wrap');
  precede(cares, 'getaddrinfo', (_request, name) => speaker().resolved(name) && denied);
  const { prototype } = cares.ChannelWrap;
  for (const name of Object.getOwnPropertyNames(prototype)) {
    if (name.startsWith('query')) precede(prototype, name, (_request, asked) => speaker().resolved(asked) && denied);
  }
}

/** fs: opens below /proc. All others cost one test. */
function files() {
  const fs = binding('fs');
  const opened = (path) => {
    const text = typeof path === 'string' ? path : path instanceof Uint8Array ? Buffer.from(path).toString('latin1') : '';
    if (text.includes('proc/')) speaker().opened(text);
  };
  for (const name of ['open', 'openFileHandle', 'readFileUtf8']) precede(fs, name, opened);
}

/** Native addons. */
function libraries() {
  precede(process, 'dlopen', (_module, path) => speaker().mapped(path));
}

/** Signals to other processes. */
function signals() {
  // There are no others than 64: `native.cjs` speaks to the preload library by one.
  precede(process, '_kill', (_pid, signal) => signal <= 64 && speaker().dangerous('kill'));
}

/** inspector.open listens. */
function debuggers() {
  precede(binding('inspector'), 'open', (port, host) => speaker().bound(host || '127.0.0.1', port || 9229));
}

/** fetch connects when the function has long left the stack. */
function requests() {
  precede(globalThis, 'fetch', (input) => {
    const text = typeof input === 'string' ? input : input instanceof URL ? input.href : input instanceof Request ? input.url : '';
    if (text) speaker().expect(new URL(text).hostname);
  });
}

/** A handler's file that is as large as the AWS SDK may have it inside: it is looked through while init lasts. */
function bundles() {
  const SDK = 100_000;
  const { statSync } = require('fs');
  const root = (process.env.LAMBDA_TASK_ROOT || '').replace(/\/+$/, '');
  const [, name] = /^((?:.*\/)?[^./]+)\./.exec(process.env._HANDLER || '') || [];
  if (!root || !name) return;
  for (const extension of ['.js', '.mjs', '.cjs']) {
    const path = `${root}/${name}${extension}`;
    if ((statSync(path, { throwIfNoEntry: false })?.size || 0) > SDK) require('./bundle.cjs').scan(path);
  }
}

/** What a key of `[code]` says, where it says something. */
function word(key) {
  const [, says] = new RegExp(`(?:^|,)${key}=(report|deny)(?:,|$)`).exec(process.env.RINGFENCE_CODE || '') || [];
  return says;
}

/** What `code.evaluate` and `code.deserialize` of the policy speak of: text that becomes code. */
function evaluations() {
  const words = { evaluate: word('evaluate'), deserialize: word('deserialize') };
  if (watched || !(words.evaluate || words.deserialize)) return;
  require('./evaluate.cjs').watch(words, process.env, installed);
  watched = true;
}

/** What `code.imports` of the policy speaks of: modules from where the function can write. */
function imports() {
  const says = word('imports');
  if (says) require('./imports.cjs').watch(says, { variables: process.env, binding, precede, installed });
}

/** What `code.native` of the policy speaks of: the ways out of the language. */
function below() {
  const says = word('native');
  if (!says) return;
  const variables = process.env;
  const detector = once(() => require('./detections.cjs'));
  const judge = (name) => detector().refuses('native', name, says, variables) && (() => refuse(name));
  const refuse = (name) => {
    throw Object.assign(new Error(`EACCES: ${name} is denied by code.native of the policy`), { code: 'EACCES', errno: EACCES });
  };
  precede(process, 'dlopen', (_module, path) => judge(`dlopen ${path}`));
  precede(process, 'binding', (name) => judge(`binding ${name}`));
  precede(binding('inspector'), 'open', () => judge('inspector.open'));
}

/** What waits for the end of the code that runs is told before process.exit(). */
function exits() {
  precede(process, 'reallyExit', () => reader().tell());
}

function attempt(work) {
  try {
    work();
  } catch {
    // What cannot be said is not said.
  }
}

/** What `credentials.reads` says, and what it exempts. */
function reading() {
  const given = process.env.RINGFENCE_CODE || '';
  const list = (key) => (new RegExp(`(?:^|,)${key}=([^,]*)`).exec(given)?.[1] || '').split('|').filter(Boolean);
  return { says: word('reads'), variables: list('reads_variables'), packages: list('reads_packages') };
}

/** Puts an object in the place of process.env that is the same in all but that reads of credentials are judged, where the
 * policy speaks of them, and that our own variables are not there. What is denied is not there either. */
function environment() {
  const { says, variables: free, packages } = reading();
  const denies = says === 'deny';
  const variables = process.env;
  const names = ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN', 'AWS_CONTAINER_AUTHORIZATION_TOKEN'];
  // What the function sets itself is its own.
  const credentials = new Set(names.filter((name) => says && !free.includes(name)));
  const gives = (key) => {
    if (!says) return true;
    try {
      return reader().judge(variables, key, { denies, packages });
    } catch {
      // As above; what the policy denies stays denied.
      return !denies;
    }
  };
  // Under "deny" the names are gone through without those of credentials. Reads of the first two, in order, tell that all
  // values are read.
  let walk = [];
  const step = (key) => {
    if (key !== walk.shift()) walk = [];
    else if (!walk.length) reader().walkedOn(variables, { denies });
  };
  const read = (key) => {
    if (credentials.has(key)) return gives(key);
    if (walk.length) attempt(() => step(key));
    return true;
  };
  const isHidden = (key) => OURS.has(key) || (denies && credentials.has(key) && !gives('has'));
  const visible = (withCredentials) => {
    const copy = Object.create(Object.getPrototypeOf(variables));
    for (const key of Object.keys(variables)) if (!OURS.has(key) && (withCredentials || !credentials.has(key))) copy[key] = variables[key];
    return copy;
  };
  // What util.inspect finds when it looks behind the proxy.
  const shown = {};
  Object.defineProperty(shown, Symbol.for('nodejs.util.inspect.custom'), {
    configurable: true,
    value: () => visible(gives('all')),
  });
  const watched = new Proxy(shown, {
    get: (_, key) => (!OURS.has(key) && read(key) ? Reflect.get(variables, key) : undefined),
    set(_, key, value) {
      credentials.delete(key);
      return Reflect.set(variables, key, value);
    },
    has: (_, key) => !isHidden(key) && Reflect.has(variables, key),
    deleteProperty: (_, key) => Reflect.deleteProperty(variables, key),
    defineProperty(_, key, descriptor) {
      credentials.delete(key);
      return Reflect.defineProperty(variables, key, descriptor);
    },
    getOwnPropertyDescriptor: (_, key) => (isHidden(key) ? undefined : Reflect.getOwnPropertyDescriptor(variables, key)),
    getPrototypeOf: () => Reflect.getPrototypeOf(variables),
    setPrototypeOf: (_, prototype) => Reflect.setPrototypeOf(variables, prototype),
    ownKeys() {
      const keys = Reflect.ownKeys(variables).filter((key) => !OURS.has(key));
      if (gives('names')) return keys;
      const seen = keys.filter((key) => !credentials.has(key));
      walk = seen.length > 1 ? seen.slice(0, 2) : [];
      return seen;
    },
  });
  const { writable, enumerable, configurable } = Object.getOwnPropertyDescriptor(process, 'env');
  Object.defineProperty(process, 'env', { value: watched, writable, enumerable, configurable });
}

module.exports = { hooked, binding, precede };
