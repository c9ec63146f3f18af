// Decides whether a reader of process.env may have a credential, and sends the record where one is due.
//
// Reads by the AWS SDKs, the runtime client and the packages that the policy exempts are what the variables are for, and
// Node itself copies them for children. Any other reader is reported or denied: once a second at most for a variable and a
// line, and again in each invocation. A package that goes through the whole environment for its settings is reported once.
// `ringfence.cjs` asks. The value is never touched here.
'use strict';

const { performance } = require('perf_hooks');
const origin = require('./origin.cjs');
const wire = require('./wire.cjs');
const { begin, end } = require('./hints.cjs');

const { action, tag } = wire;

/** The name under which a read of the whole environment is reported. */
const WHOLE = 'AWS_SECRET_ACCESS_KEY';
/** Milliseconds in which the same read is not reported again within one invocation. */
const QUIET = 1000;
const MAX_REMEMBERED = 256;
/** Modules of Node that copy the environment for a child or a thread. */
const COPIES = /^node:(?:internal\/)?(?:child_process|worker|cluster|process\/|main\/|bootstrap\/)/;

/** What such a record says besides. The agent knows a package's copy by the beginning. */
const COPY = 'in a copy of the whole environment';
/** Variables that only this process's environment has: a program that gets them gets a copy of it. */
const OWN = ['LAMBDA_TASK_ROOT=', 'AWS_LAMBDA_RUNTIME_API='];

const reported = new Map();
let walked = '';
/** Copies that are not told yet. */
const waiting = [];

/** Whether the code that asks may have a value (by its name), all values ('all'), their names ('names'), or know that one is
 * there ('has'). */
function judge(variables, key, { denies, packages }) {
  const found = origin.sites(judge);
  const { site, copies } = reader(found);
  if (copies || (site && (origin.isSdk(site) || packages.includes(origin.packageOf(site))))) return true;
  // Nothing but Node is on the stack: a built-in function is the work itself.
  if (key === 'has' || (!site && !denies)) return !denies;
  const where = site ? origin.place(site) : '';
  if (key === 'names') {
    // { ...process.env } goes through the names, then reads each value from the same line: that is one read.
    walked = where;
  } else if (key === 'all') {
    copied(variables, found, site, denies);
  } else if (walker(found)) {
    const walk = found.slice(found.indexOf(walker(found)));
    copied(variables, walk, walk[0], denies);
  } else if (isNew(`${key} ${where} ${variables._X_AMZN_TRACE_ID}`)) {
    report(key, origin.locate(found), denies, '');
  }
  return !denies;
}

/** The call site that goes through the names at this moment, if the reader is it or is called by it. */
function walker(found) {
  return walked && found.find((one) => origin.kindOf(one) !== origin.HOOK && origin.place(one) === walked);
}

/** The first values are read by the code that asked for the names. */
function walkedOn(variables, { denies }) {
  const found = origin.sites(walkedOn);
  const { site } = reader(found);
  if ((site ? origin.place(site) : '') === walked) copied(variables, found, site, denies);
}

/** All values are read. It is told when the code that did it has run to its end, and not at all where that starts a program
 * with the copy: what the child gets is judged at its exec. */
function copied(variables, found, site, denies) {
  const name = site ? origin.packageOf(site) : '';
  const read = name ? `package ${name}` : `${WHOLE} ${site ? origin.place(site) : ''} ${variables._X_AMZN_TRACE_ID}`;
  // Packages look for their settings so: told once in the life of the process.
  if (!isNew(read, name !== '')) return;
  const detail = name ? `${COPY}, by the package ${name}` : COPY;
  if (waiting.push([WHOLE, origin.locate(found), denies, detail, read]) === 1) process.nextTick(tell);
}

function tell() {
  for (const copy of waiting.splice(0)) report(...copy);
}

/** A program is started with these variables, `NAME=value`. */
function given(pairs) {
  if (!waiting.length || !Array.isArray(pairs) || !pairs.some((pair) => OWN.some((name) => String(pair).startsWith(name)))) return;
  for (const [, , , , read] of waiting.splice(0)) reported.delete(read);
}

/** The call site that asked, where it is not Node's own, and whether Node copies for a child or a thread. */
function reader(found) {
  const outside = found.filter((site) => origin.kindOf(site) !== origin.HOOK && (site.isEval() || origin.file(site)));
  if (outside.length && COPIES.test(origin.file(outside[0]))) return { copies: true };
  return { site: outside.find((site) => origin.kindOf(site) !== origin.STANDARD), copies: false };
}

/** Whether this read was not reported lately, or never where it is told once. */
function isNew(read, once = false) {
  const now = performance.now();
  if (reported.has(read) && (once || now - reported.get(read) < QUIET)) return false;
  if (reported.size >= MAX_REMEMBERED) reported.clear();
  reported.set(read, now);
  return true;
}

function report(name, where, denies, detail) {
  begin(wire.kind.VIOLATION, action.READ_CREDENTIAL);
  wire.byte(tag.OUTCOME, denies ? wire.OUTCOME_BLOCKED : wire.OUTCOME_REPORTED);
  wire.byte(tag.RULE, wire.RULE_CREDENTIALS_READS);
  wire.byte(tag.PLANE, wire.PLANE_PROCESS);
  wire.field(tag.NAME, name);
  if (detail) wire.field(tag.DETAIL, detail);
  end(where);
}

module.exports = { judge, walkedOn, given, tell };
