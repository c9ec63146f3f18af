// Limits that a function sets for its own code: `scope({ egress: 'deny' }, work)` and `configure`.
//
// It decides, before a native call of Node, what code inside a scope may do; what is denied fails with EACCES, as if
// the system had refused. It only ever adds to what policy and other planes deny. The function loads it by
// `/opt/ringfence/node/scopes.cjs`; `hints.cjs` asks it, and without it nothing is judged.
'use strict';

const { AsyncLocalStorage } = require('async_hooks');
const { realpathSync } = require('fs');
const { basename, dirname, join, resolve } = require('path');
const { hooked, binding, precede } = require('./ringfence.cjs');
const hints = require('./hints.cjs');
const native = require('./native.cjs');
const origin = require('./origin.cjs');
const wire = require('./wire.cjs');

const LEVELS = { allow: 0, report: 1, deny: 2 };
const KINDS = ['tmp', 'egress', 'children', 'files'];
const SHIELD_KEYS = { outbound_connectivity: 'egress', read_write_tmp: 'tmp', create_child_process: 'children', read_handler: 'files' };
const SHIELD_LEVELS = { block: 2, alert: 1, allow: 0 };
const IGNORED = ['token', 'disable_analytics', 'policy'];

/** Native functions of fs that take paths, and how many. */
const FILE_CALLS = {
  open: 1, openFileHandle: 1, readFileUtf8: 1, writeFileUtf8: 1, mkdir: 1, mkdtemp: 1, rmdir: 1, unlink: 1, rmSync: 1,
  chmod: 1, chown: 1, utimes: 1, rename: 2, link: 2, symlink: 2, copyFile: 2, cpSyncCopyDir: 2,
}; // prettier-ignore
/** What an open is for: O_WRONLY, O_RDWR, O_CREAT, O_TRUNC. */
const WRITES = 0o1 | 0o2 | 0o100 | 0o1000;
const EACCES = -13;

const NOTHING = { levels: { tmp: 0, egress: 0, children: 0, files: 0 }, globs: [], bits: 0 };
const storage = new AsyncLocalStorage();
let whole = NOTHING;
let installed = false;

/**
 * Calls `work` with tighter limits, for it and all that it starts, and returns what it returns. `tmp`: reading and
 * writing below /tmp. `egress`: connections, datagrams and lookups beyond this machine. `children`: starting processes.
 * Each is 'deny', 'report' or 'allow' (no limit of this scope's). `files`: the same for the function's own files, or a
 * list of globs that may be neither read nor written; `*` matches `/` too.
 */
function scope(limits, work) {
  const levels = {};
  const globs = Array.isArray(limits.files) ? limits.files.map(pattern) : [];
  for (const [kind, word] of Object.entries(limits)) {
    if (!KINDS.includes(kind)) throw new TypeError(`${kind}: expected one of ${KINDS.join(', ')}`);
    if (kind === 'files' && globs.length) continue;
    if (!Object.hasOwn(LEVELS, word)) throw new TypeError(`${kind}: '${word}': expected 'deny', 'report' or 'allow'`);
    levels[kind] = LEVELS[word];
  }
  install();
  const tighter = tightened(storage.getStore() || NOTHING, levels, globs);
  return native.during(tighter.bits, () => storage.run(tighter, work));
}

/** Tightens this thread of the process for good, in FunctionShield's words. A later call can only tighten further. */
function configure(settings) {
  const levels = {};
  for (const [key, word] of Object.entries({ ...settings.policy, ...settings })) {
    if (IGNORED.includes(key)) continue;
    if (!Object.hasOwn(SHIELD_KEYS, key)) throw new TypeError(`${key}: expected one of ${Object.keys(SHIELD_KEYS).join(', ')}`);
    if (!Object.hasOwn(SHIELD_LEVELS, word)) throw new TypeError(`${key}: '${word}': expected block, alert or allow`);
    levels[SHIELD_KEYS[key]] = SHIELD_LEVELS[word];
  }
  install();
  whole = tightened(whole, levels, []);
  native.holdForAll(whole.bits);
}

/** Of both, whichever is stricter. */
function tightened(limits, levels, globs) {
  const merged = Object.fromEntries(KINDS.map((kind) => [kind, Math.max(limits.levels[kind], levels[kind] || 0)]));
  return { levels: merged, globs: [...limits.globs, ...globs], bits: native.bits(merged, LEVELS.deny) };
}

function pattern(glob) {
  const escaped = String(glob).replace(/[.+^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`^${escaped.replace(/\*+/g, '.*').replace(/\?/g, '.')}$`, 's');
}

function install() {
  if (!hooked) throw new Error('ringfence: the hook is not loaded in this process, so a scope would limit nothing');
  if (installed) return;
  installed = true;
  native.prepare();
  hints.judgeBy(level);
  for (const [name, paths] of Object.entries(FILE_CALLS)) {
    precede(binding('fs'), name, (...given) => judgeFiles(name, given, paths));
  }
}

/** How strict the limits are about one subject. */
function level(kind, subject) {
  const limits = storage.getStore();
  native.holdForNow(limits ? limits.bits : 0);
  if (!limits && whole === NOTHING) return 0;
  const strictest = Math.max(limits ? limits.levels[kind] : 0, whole.levels[kind]);
  return kind === 'egress' && isLocal(subject) ? 0 : strictest;
}

function isLocal(host) {
  const name = String(host).toLowerCase().replace(/\.$/, '');
  return name === 'localhost' || name === '::1' || (name.startsWith('127.') && wire.address(name, 0) !== null);
}

/** Judges the paths of a call; what is denied is answered in its place. */
function judgeFiles(name, given, paths) {
  if (!storage.getStore() && whole === NOTHING) return undefined;
  for (const path of given.slice(0, paths)) {
    const text = path instanceof Uint8Array ? Buffer.from(path).toString() : path;
    if (typeof text !== 'string') continue;
    const [strictest, kind] = fileLevel(real(text));
    if (strictest === 0 || (kind === 'files' && isImport())) continue;
    const reads = name === 'readFileUtf8' || (name.startsWith('open') && !(given[1] & WRITES));
    hints.touched(text, reads, kind, strictest);
    if (strictest === LEVELS.deny) return () => refuse(name, text, given);
  }
  return undefined;
}

function fileLevel(path) {
  // Our own modules are loaded when they are needed first, which is no deed of the function's.
  if (path.startsWith(__dirname + '/')) return [0, ''];
  const limits = storage.getStore() || NOTHING;
  const found = [[0, '']];
  if (path === '/tmp' || path.startsWith('/tmp/')) found.push([Math.max(limits.levels.tmp, whole.levels.tmp), 'tmp']);
  if (dirname(path) + '/' === origin.TASK_ROOT) found.push([Math.max(limits.levels.files, whole.levels.files), 'files']);
  if (limits.globs.some((glob) => glob.test(path))) found.push([LEVELS.deny, 'files']);
  return found.reduce((one, other) => (other[0] > one[0] ? other : one));
}

/** Where a path leads; of one that is not there yet, where its folder is. */
function real(path) {
  for (const [there, rest] of [[path, ''], [dirname(path), basename(path)]]) {
    try {
      return join(realpathSync.native(there), rest);
    } catch {
      // Not there.
    }
  }
  return resolve(path);
}

/** Whether Node's module loader reads: imports may come late. */
function isImport() {
  for (const site of origin.sites()) {
    const path = origin.file(site);
    if (path.startsWith('node:internal/modules/')) return true;
    if (path !== '' && !path.startsWith('node:') && origin.kindOf(site) !== origin.HOOK) return false;
  }
  return false;
}

/** Fails as the native function would: by its callback, its promise, or by throwing. */
function refuse(syscall, path, given) {
  const error = new Error(`EACCES: permission denied by a scope, ${syscall} '${path}'`);
  Object.assign(error, { errno: EACCES, code: 'EACCES', syscall, path });
  const request = given.find((each) => each && typeof each.oncomplete === 'function');
  if (request) {
    process.nextTick(() => request.oncomplete(error));
    return undefined;
  }
  if (given.some((each) => typeof each === 'symbol')) return Promise.reject(error);
  throw error;
}

module.exports = { scope, configure };
