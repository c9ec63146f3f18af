// Decides whether a read of a credential variable is worth a record, and sends it.
//
// Reads by the AWS SDKs and the runtime client are what the variables are for, and Node itself copies them for
// children. Any other reader is reported, once a second at most for a variable and a line, and again in each
// invocation. `ringfence.cjs` calls it. The value is never touched here.
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

const reported = new Map();
let walked = '';
/** Places of copies that are not told yet. */
const waiting = [];

/** A value was read (its name), all values were ('all'), or the names are being gone through ('names'). */
function note(variables, key) {
  const found = origin.sites(note);
  const site = reader(found);
  if (!site || origin.isSdk(site)) return;
  const where = origin.place(site);
  if (key === 'names') {
    // { ...process.env } goes through the names, then reads each value from the same line: that is one read.
    walked = where;
    return;
  }
  const whole = key === 'all' || walked === where;
  const name = whole ? WHOLE : key;
  if (!isNew(`${name} ${where} ${variables._X_AMZN_TRACE_ID}`)) return;
  if (whole) wait(origin.locate(found));
  else report(name, origin.locate(found));
}

/** A copy of the whole environment is told when the code that made it has run to its end, and not at all where that
 * starts a program with the copy: what the child gets is judged at its exec. */
function wait(where) {
  if (waiting.push(where) === 1) process.nextTick(tell);
}

function tell() {
  for (const where of waiting.splice(0)) report(WHOLE, where);
}

/** A program is started with these variables, `NAME=value`. */
function given(pairs) {
  if (waiting.length && Array.isArray(pairs) && pairs.some((pair) => String(pair).startsWith(`${WHOLE}=`))) waiting.length = 0;
}

/** The call site that asked; undefined where it is Node's own. */
function reader(found) {
  const outside = found.filter((site) => origin.kindOf(site) !== origin.HOOK && (site.isEval() || origin.file(site)));
  if (outside.length && COPIES.test(origin.file(outside[0]))) return undefined;
  return outside.find((site) => origin.kindOf(site) !== origin.STANDARD);
}

function isNew(read) {
  const now = performance.now();
  if (now - (reported.get(read) ?? -QUIET) < QUIET) return false;
  if (reported.size >= MAX_REMEMBERED) reported.clear();
  reported.set(read, now);
  return true;
}

function report(name, where) {
  begin(wire.kind.VIOLATION, action.READ_CREDENTIAL);
  wire.byte(tag.OUTCOME, wire.OUTCOME_REPORTED);
  wire.byte(tag.RULE, wire.RULE_CREDENTIALS_READS);
  wire.byte(tag.PLANE, wire.PLANE_PROCESS);
  wire.field(tag.NAME, name);
  end(where);
}

module.exports = { note, given, tell };
