// Says which line of the function's own code stands behind an event, by walking the stack.
//
// It knows where Node, installed packages, the runtime client and the function live, and nothing of events. A frame's
// file name can be forged by code that already runs in the process: it is evidence, not proof. `hints.cjs` and
// `reads.cjs` call it.
'use strict';

const bundle = require('./bundle.cjs');

const TASK_ROOT = (process.env.LAMBDA_TASK_ROOT || '/var/task').replace(/\/+$/, '') + '/';
const OWN = __dirname + '/';

// What a file is.
const FUNCTION = 0;
const EVALUATED = 1;
const LIBRARY = 2;
const STANDARD = 3;
const RUNTIME = 4;
const HOOK = 5;

const MAX_DEPTH = 64;
const MAX_FRAMES = 8;

const SDKS = /\/node_modules\/(?:@aws-sdk|@smithy|@aws-crypto|@aws|@aws-lambda-powertools|aws-sdk|aws-crt|aws-xray-sdk[a-z-]*|aws-lambda-ric)\//;
/** Packages that wrap what others do: a line of theirs is not the one that acted. */
const WRAPPERS = /^(?:@opentelemetry\/|@sentry\/|@datadog\/|@newrelic\/|dd-trace$|datadog-lambda-js$|newrelic$|elastic-apm-node$|shimmer$|import-in-the-middle$|require-in-the-middle$|aws-xray-sdk)/;
const MAX_KNOWN = 256;

/** The call sites behind `below`, or behind the caller. */
function sites(below = sites) {
  const own = Object.getOwnPropertyDescriptor(Error, 'prepareStackTrace');
  const limit = Error.stackTraceLimit;
  const holder = {};
  try {
    Error.prepareStackTrace = (_, found) => found;
    Error.stackTraceLimit = MAX_DEPTH;
    Error.captureStackTrace(holder, below);
    return Array.isArray(holder.stack) ? holder.stack : [];
  } finally {
    Error.stackTraceLimit = limit;
    if (own) Object.defineProperty(Error, 'prepareStackTrace', own);
    else delete Error.prepareStackTrace;
  }
}

/** The file of a call site as a path; empty for what is built in. */
function file(site) {
  const name = site.getFileName() || '';
  if (!name.startsWith('file://')) return name;
  const path = name.slice(7);
  return path.includes('%') ? decoded(path) : path;
}

function decoded(path) {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

const kinds = new Map();

/** What the code of a call site is. */
function kindOf(site) {
  if (site.isEval()) return EVALUATED;
  const name = site.getFileName() || '';
  let kind = kinds.get(name);
  if (kind === undefined) {
    if (kinds.size >= MAX_KNOWN) kinds.clear();
    kinds.set(name, (kind = classify(file(site))));
  }
  return kind;
}

function classify(path) {
  if (path === '' || path.startsWith('node:')) return STANDARD;
  if (path.startsWith(OWN)) return HOOK;
  if (!path.startsWith('/')) return EVALUATED;
  if (path.startsWith('/var/runtime/') || path.includes('/aws-lambda-ric/')) return RUNTIME;
  return path.includes('/node_modules/') || path.startsWith('/opt/') ? LIBRARY : FUNCTION;
}

/** Whether a call site belongs to an AWS SDK or the runtime client, in a place that the function cannot write. */
function isSdk(site) {
  const path = file(site);
  if (site.isEval() || !path.startsWith('/') || /^\/(?:tmp|dev|proc)\//.test(path)) return false;
  return path.startsWith('/var/runtime/') || SDKS.test(path) || bundle.holds(path, site.getLineNumber(), site.getColumnNumber());
}

/** The installed package that a call site belongs to; empty for the function's own. */
function packageOf(site) {
  if (kindOf(site) !== LIBRARY) return '';
  const path = file(site);
  const [, name] = /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path) || /^\/opt\/(?:nodejs\/)?([^/]+)/.exec(path) || [];
  return name || '';
}

/** What wants a program, where that is not the function itself: `the package dd-trace`. */
function asker(found) {
  const site = found.find((each) => kindOf(each) !== HOOK && kindOf(each) !== STANDARD);
  const name = site ? packageOf(site) : '';
  return name && `the package ${name}`;
}

/** `{ code, frames }`: the nearest line of the function's own, and the way from there to the handler. Where the function has
 * no part in it, the line by which the outermost package began that is no wrapper of others. */
function locate(found) {
  const frames = [];
  let code = '';
  let outermost = '';
  let wrapper = '';
  for (const site of found) {
    const kind = kindOf(site);
    if (kind === RUNTIME && frames.length) break;
    if (kind === FUNCTION || kind === EVALUATED) {
      const where = place(site);
      frames.push(`${where} ${site.getFunctionName() || '<anonymous>'}`);
      if (kind === FUNCTION && !code) code = where;
    } else if (kind === LIBRARY) {
      if (WRAPPERS.test(packageOf(site))) wrapper = place(site);
      else outermost = place(site);
    }
  }
  return { own: code !== '', code: code || (frames[0] || '').split(' ')[0] || outermost || wrapper, frames: frames.slice(0, MAX_FRAMES) };
}

/** `file:line`, below the function's folder without it. */
function place(site) {
  const path = site.isEval() ? '<eval>' : file(site);
  return `${path.startsWith(TASK_ROOT) ? path.slice(TASK_ROOT.length) : path}:${site.getLineNumber() || 0}`;
}

module.exports = { TASK_ROOT, FUNCTION, EVALUATED, LIBRARY, STANDARD, HOOK, sites, file, kindOf, isSdk, packageOf, asker, locate, place };
