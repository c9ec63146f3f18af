// Decides what `code.native` of the policy says where the function's own code leaves the language, and writes it down.
//
// `ringfence.cjs` calls it before native add-ons, Node's own bindings and the debugger are opened, and only where the
// guard has said so (RINGFENCE_CODE). Code that is hostile already can take it apart.
'use strict';

const { performance } = require('perf_hooks');
const origin = require('./origin.cjs');
const wire = require('./wire.cjs');
const { begin, end } = require('./hints.cjs');

const { action, tag } = wire;
/** Milliseconds in which the same finding is not reported again within one invocation. */
const QUIET = 1000;
const MAX_REMEMBERED = 256;
const reported = new Map();

/** Whether the call is to be refused: `says` is "report" or "deny". */
function refuses(name, says, variables) {
  const found = origin.sites(refuses);
  // Before the first event the function and its libraries load what they need.
  if (!variables._X_AMZN_TRACE_ID || !isTheFunctions(found)) return false;
  const denies = says === 'deny';
  const where = origin.locate(found);
  if (isNew(`${name} ${where.code} ${variables._X_AMZN_TRACE_ID}`) || denies) tell(name, where, denies);
  return denies;
}

/** Whether the function's own code asks: libraries have their reasons. */
function isTheFunctions(found) {
  for (const site of found) {
    const kind = origin.kindOf(site);
    if (kind === origin.FUNCTION || kind === origin.EVALUATED) return true;
    if (kind !== origin.STANDARD && kind !== origin.HOOK) return false;
  }
  return false;
}

function isNew(finding) {
  const now = performance.now();
  if (now - (reported.get(finding) ?? -QUIET) < QUIET) return false;
  if (reported.size >= MAX_REMEMBERED) reported.clear();
  reported.set(finding, now);
  return true;
}

function tell(name, where, denies) {
  begin(wire.kind.VIOLATION, action.NATIVE);
  wire.byte(tag.OUTCOME, denies ? wire.OUTCOME_BLOCKED : wire.OUTCOME_REPORTED);
  wire.byte(tag.RULE, wire.RULE_CODE_NATIVE);
  wire.byte(tag.PLANE, wire.PLANE_PROCESS);
  wire.field(tag.NAME, name);
  end(where);
}

module.exports = { refuses };
