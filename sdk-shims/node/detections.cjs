// Decides what `[code]` of the policy says of a call, and writes it down.
//
// `ringfence.cjs` calls it before native add-ons, Node's own bindings and the debugger are opened, `evaluate.cjs` before
// text becomes code, `imports.cjs` before a file becomes a module, and only where the guard has said so (RINGFENCE_CODE).
// Code that is hostile already can take it apart.
'use strict';

const { performance } = require('perf_hooks');
const event = require('./event.cjs');
const origin = require('./origin.cjs');
const wire = require('./wire.cjs');
const { begin, end } = require('./hints.cjs');

const { action, tag } = wire;
const KEYS = {
  evaluate: { action: action.EVALUATE, rule: wire.RULE_CODE_EVALUATE },
  native: { action: action.NATIVE, rule: wire.RULE_CODE_NATIVE },
  imports: { action: action.IMPORT, rule: wire.RULE_CODE_IMPORTS, subject: tag.PATH },
};
/** Milliseconds in which the same finding is not reported again within one invocation. */
const QUIET = 1000;
const MAX_REMEMBERED = 256;
/** Packages whose work is to make objects of text, functions among them, by eval. */
const DESERIALIZERS = /\/node_modules\/(?:node-serialize|serialize-to-js|serialijse|funcster|cryo|eval-deserialize|jsonfn|json-fn)\//;
const reported = new Map();

/** Whether a call by the function's own code is to be refused: `says` is "report" or "deny". */
function refuses(key, name, says, variables, detail = '') {
  // Before the first event the function and its libraries load what they need.
  if (!variables._X_AMZN_TRACE_ID && !event.isThere()) return false;
  const found = origin.sites(refuses);
  return (isTheFunctions(found) || (key === 'evaluate' && isADeserializers(found))) && judged(key, name, says, variables, detail, found);
}

/** Whether the evaluation of texts is to be refused: whoever evaluates what came with the event. */
function refusesText(name, texts, says, variables) {
  if (!texts.some((text) => typeof text === 'string' && event.holds(text))) return false;
  return judged('evaluate', name, says, variables, 'the text stands in the event', origin.sites(refusesText));
}

/** Whether the import of a file that the function can write is to be refused, whatever asks for it and whenever: such a
 * file is none that was deployed. */
function refusesImport(path, says, variables) {
  return judged('imports', path, says, variables, '', origin.sites(refusesImport));
}

function judged(key, name, says, variables, detail, found) {
  const where = origin.locate(found);
  const denies = says === 'deny';
  if (isNew(`${name} ${where.code} ${variables._X_AMZN_TRACE_ID}`) || denies) tell(KEYS[key], name, detail, where, denies);
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

/** Whether a package that is known to evaluate what it reads asks. */
function isADeserializers(found) {
  const nearest = found.find((site) => ![origin.STANDARD, origin.HOOK].includes(origin.kindOf(site)));
  return nearest !== undefined && DESERIALIZERS.test(origin.file(nearest));
}

function isNew(finding) {
  const now = performance.now();
  if (now - (reported.get(finding) ?? -QUIET) < QUIET) return false;
  if (reported.size >= MAX_REMEMBERED) reported.clear();
  reported.set(finding, now);
  return true;
}

function tell({ action: which, rule, subject = tag.NAME }, name, detail, where, denies) {
  begin(wire.kind.VIOLATION, which);
  wire.byte(tag.OUTCOME, denies ? wire.OUTCOME_BLOCKED : wire.OUTCOME_REPORTED);
  wire.byte(tag.RULE, rule);
  wire.byte(tag.PLANE, wire.PLANE_PROCESS);
  wire.field(subject, name);
  if (detail) wire.field(tag.DETAIL, detail);
  end(where);
}

module.exports = { refuses, refusesText, refusesImport };
