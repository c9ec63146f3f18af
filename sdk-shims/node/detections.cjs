// Decides what `[code]` of the policy says of a call, and writes it down.
//
// `ringfence.cjs` calls it before native add-ons, Node's own bindings and the debugger are opened, `evaluate.cjs` before
// text becomes code (`deserializers.cjs` says for which packages), `imports.cjs` before a file becomes a module, and only where the guard has said so (RINGFENCE_CODE).
// Code that is hostile already can take it apart.
'use strict';

const { performance } = require('perf_hooks');
const event = require('./event.cjs');
const deserializers = require('./deserializers.cjs');
const origin = require('./origin.cjs');
const wire = require('./wire.cjs');
const { begin, end } = require('./hints.cjs');

const { action, tag } = wire;
const KEYS = {
  evaluate: { action: action.EVALUATE, rule: wire.RULE_CODE_EVALUATE },
  deserialize: { action: action.DESERIALIZE, rule: wire.RULE_CODE_DESERIALIZE },
  native: { action: action.NATIVE, rule: wire.RULE_CODE_NATIVE },
  imports: { action: action.IMPORT, rule: wire.RULE_CODE_IMPORTS, subject: tag.PATH },
};
/** Milliseconds in which the same finding is not reported again within one invocation. */
const QUIET = 1000;
const MAX_REMEMBERED = 256;
const TEXT_UNKNOWN = 'the text is not known';
const reported = new Map();

/** Whether a call by the function's own code is to be refused: `says` is "report" or "deny". */
function refuses(key, name, says, variables) {
  // Before the first event the function and its libraries load what they need.
  if (!isInvoked(variables)) return false;
  const found = origin.sites(refuses);
  return isTheFunctions(found) && judged(key, name, says, variables, '', found);
}

/** The key by which a reference to eval is to be refused, if it is; of `words` each is "report", "deny" or nothing. */
function refusesEval(words, variables) {
  const found = origin.sites(refusesEval);
  const name = deserializers.asking(found);
  return decided(words, variables, found, {
    deserialize: () => name && [`${name}: eval`, TEXT_UNKNOWN],
    evaluate: () => isInvoked(variables) && (name || isTheFunctions(found)) && ['eval', TEXT_UNKNOWN],
  });
}

/** The same for the evaluation of texts: whoever evaluates what came with the event, and the packages that make objects of
 * text where they make functions. */
function refusesText(name, texts, words, variables) {
  const found = origin.sites(refusesText);
  const data = words.deserialize ? deserializers.asking(found) : '';
  return decided(words, variables, found, {
    deserialize: () => data && deserializers.isCode(data, texts) && [`${data}: ${name}`, 'the data holds code'],
    evaluate: () => texts.some((text) => typeof text === 'string' && event.holds(text)) && [name, 'the text stands in the event'],
  });
}

/** One deed is one finding: of two keys that speak of it, the one that denies. */
function decided(words, variables, found, finding) {
  const keys = ['deserialize', 'evaluate'].filter((key) => words[key]);
  if (words.deserialize !== 'deny' && words.evaluate === 'deny') keys.reverse();
  for (const key of keys) {
    const [subject, detail] = finding[key]() || [];
    if (subject) return judged(key, subject, words[key], variables, detail, found) && key;
  }
  return false;
}

function isInvoked(variables) {
  return event.isThere() || Boolean(variables._X_AMZN_TRACE_ID);
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

module.exports = { refuses, refusesEval, refusesText, refusesImport };
