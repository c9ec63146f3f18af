// Tells the AWS SDK inside a bundle: bundlers put it into the function's own file, where no path gives it away.
//
// The SDK's error messages survive minifying and stand beside its reads of credential variables, so a read close to
// one of them is the SDK's. `ringfence.cjs` scans the handler's file while that may still be read (a policy may close
// /var/task after init); `origin.cjs` asks. Code can imitate this; then it stood in the deployed file before.
'use strict';

const { readFileSync, statSync } = require('fs');

/** Texts of SDK v3 that stand beside the reads. */
const TEXTS = ['Unable to find environment variable credentials', 'Multiple credential sources detected'];
const MAX_BUNDLE = 32 << 20;
/** How far, in characters, a read may be from a text. */
const NEAR = 2000;
const MAX_WINDOWS = 16;
const MAX_FILES = 64;

/** File → places in it where reads are the SDK's, as pairs of { line, column }. */
const known = new Map();

/** Whether a place in a file is the SDK's. */
function holds(path, line, column) {
  const here = { line, column };
  return scan(path).some(([from, to]) => !before(here, from) && !before(to, here));
}

/** Finds the texts in a file, once. */
function scan(path) {
  let windows = known.get(path);
  if (windows === undefined) {
    if (known.size >= MAX_FILES) known.clear();
    known.set(path, (windows = search(path)));
  }
  return windows;
}

function search(path) {
  try {
    if (statSync(path).size > MAX_BUNDLE) return [];
    const text = readFileSync(path, 'utf8');
    const found = TEXTS.flatMap((each) => offsets(text, each)).slice(0, MAX_WINDOWS);
    return found.map((offset) => [position(text, offset - NEAR), position(text, offset + NEAR)]);
  } catch {
    return [];
  }
}

function offsets(text, wanted) {
  const found = [];
  for (let at = text.indexOf(wanted); at >= 0 && found.length < MAX_WINDOWS; at = text.indexOf(wanted, at + 1)) found.push(at);
  return found;
}

/** Line and column, as call sites count them. */
function position(text, offset) {
  const end = Math.max(0, offset);
  let line = 1;
  let start = 0;
  for (let at = text.indexOf('\n'); at >= 0 && at < end; at = text.indexOf('\n', start)) {
    line += 1;
    start = at + 1;
  }
  return { line, column: end - start + 1 };
}

function before(one, other) {
  return one.line < other.line || (one.line === other.line && one.column < other.column);
}

module.exports = { scan, holds };
