// Watches what Node's loaders read, for `code.imports` of the policy: modules, workers and loader hooks in folders that
// the function can write.
//
// It decides what is an import; `detections.cjs` writes it down and says whether it is refused. All ways to a module
// (require, import, createRequire, --require, a main script) end in a read by Node's loader, so that is where it looks.
// `ringfence.cjs` loads this file where the policy has the key, before the function's code.
'use strict';

const { realpathSync } = require('fs');
const { resolve } = require('path');
const { fileURLToPath } = require('url');

const EACCES = -13;
const WRITABLE = /^\/(?:tmp|dev\/shm)\//;
/** What a loader reads and does not run. */
const DATA = /\.json$/;

let detector;

/** Has imports judged: `says` is "report" or "deny". `tools` are those of `ringfence.cjs`. */
function watch(says, { variables, binding, precede, installed }) {
  const refused = (path) => {
    const place = placeOf(path);
    if (place === '') return undefined;
    detector ??= require('./detections.cjs');
    return detector.refusesImport(place, says, variables) ? () => denial(place) : undefined;
  };
  const thrown = (path) => {
    const denied = refused(path);
    return denied && (() => { throw denied(); });
  };
  const read = (path) => {
    // Where a link leads is cheaper to learn than which code reads.
    if (DATA.test(textOf(path)) || placeOf(path) === '' || !isLoaders()) return undefined;
    const denied = refused(path);
    return denied && ((_original, given) => fail(denied(), given));
  };
  const files = () => ['open', 'openFileHandle', 'readFileUtf8'].forEach((name) => precede(binding('fs'), name, read));
  const libraries = () => precede(process, 'dlopen', (_module, path) => thrown(path));
  // Loader hooks run in a thread of their own, which the hook is not in.
  const hooks = () => precede(require('module'), 'register', (path) => thrown(path));
  [files, libraries, hooks, () => threads(thrown)].forEach((each) => installed(each));
  installed(() => require('module').syncBuiltinESMExports());
}

/** Worker threads whose program is a file: a worker with options of its own may be without the hook. */
function threads(thrown) {
  const module = require('worker_threads');
  const Worker = new Proxy(module.Worker, {
    construct(target, given, made) {
      const [program, options] = given;
      if (!options?.eval) thrown(program)?.();
      return Reflect.construct(target, given, made === Worker ? target : made);
    },
  });
  for (const [holder, name] of [[module.Worker.prototype, 'constructor'], [module, 'Worker']]) {
    Object.defineProperty(holder, name, { ...Object.getOwnPropertyDescriptor(holder, name), value: Worker });
  }
}

function textOf(path) {
  if (typeof path === 'string') return path;
  return path instanceof Uint8Array ? Buffer.from(path).toString('latin1') : '';
}

/** The file in a folder that the function can write that a path or URL leads to; empty for all others. */
function placeOf(path) {
  const given = path instanceof URL || /^file:/.test(path) ? fileURLToPath(path) : textOf(path);
  if (given === '') return '';
  const places = [resolve(given)];
  try {
    places.unshift(realpathSync.native(given));
  } catch {
    // Not there, or not to be looked at.
  }
  return places.find((place) => WRITABLE.test(place)) || '';
}

/** Whether Node's loader is the nearest that reads: code of the function stands between where it reads a file itself. */
function isLoaders() {
  const origin = require('./origin.cjs');
  for (const site of origin.sites(isLoaders)) {
    const path = origin.file(site);
    if (path.startsWith('node:internal/modules/')) return true;
    if (path !== '' && !path.startsWith('node:') && origin.kindOf(site) !== origin.HOOK) return false;
  }
  return false;
}

function denial(path) {
  const error = new Error(`EACCES: ${path} is denied by code.imports of the policy`);
  return Object.assign(error, { code: 'EACCES', errno: EACCES, path });
}

/** Fails as the native function would: by its callback, its promise, or by throwing. */
function fail(error, given) {
  const request = given.find((each) => each && typeof each.oncomplete === 'function');
  if (request) {
    process.nextTick(() => request.oncomplete(error));
    return undefined;
  }
  if (given.some((each) => typeof each === 'symbol')) return Promise.reject(error);
  throw error;
}

module.exports = { watch };
