// Tells the preload library what the scope that runs forbids, so that it holds in native add-ons and in children too.
//
// It decides nothing: `scopes.cjs` says what is forbidden. The library takes a request by kill(2) with a signal that no
// kernel knows (sdk-shims/preload/src/scope.rs), which needs no add-on; where the library is not, the call fails, and
// scopes hold in front of Node's own functions alone.
'use strict';

const { randomBytes } = require('crypto');
const { stat } = require('fs');
const { isMainThread, setEnvironmentData, getEnvironmentData } = require('worker_threads');

/** What can be forbidden; each is a bit. */
const BITS = { tmp: 1, egress: 2, children: 4 };
const REQUEST = 0x52460000;
const FOR_ALL = 0x8000;
const KEY = 'ringfence';

const kill = process._kill;
const key = keyOfProcess();
let there = typeof kill === 'function' && key !== undefined;
/** Limits of this thread, as the library has them. */
let told = 0;
/** Whether the limits fall when the code that runs has run to its end. */
let falling = false;

/** Above any process id, so that without the library the kernel finds nobody; the same in all threads. */
function keyOfProcess() {
  if (isMainThread) setEnvironmentData(KEY, 0x40000000 | (randomBytes(4).readUInt32LE() & 0x3fffffff));
  return getEnvironmentData(KEY);
}

/** Has the pool's threads started now: a thread begins with the limits of the one that makes it. */
function prepare() {
  if (there) stat('/', () => {});
}

/** Makes the limits of this thread `bits`. */
function hold(bits) {
  if (!there || bits === told) return;
  if (ask(bits)) told = bits;
}

/** The same for the code that runs now, and no longer: what runs after it may be another's. */
function holdForNow(bits) {
  hold(bits);
  if (told === 0 || falling) return;
  falling = true;
  process.nextTick(() => {
    falling = false;
    hold(0);
  });
}

/** Calls `work` with these limits. */
function during(bits, work) {
  const before = told;
  hold(bits);
  try {
    return work();
  } finally {
    hold(before);
  }
}

/** Adds to the limits of the whole process, for good. */
function holdForAll(bits) {
  if (there && bits) ask(FOR_ALL | bits);
}

function ask(what) {
  const ESRCH = -3;
  const answer = kill.call(process, key, REQUEST | what);
  if (answer === ESRCH) there = false;
  return answer === 0;
}

/** What is denied in `levels`, as the library is told. */
function bits(levels, deny) {
  return Object.entries(BITS).reduce((sum, [what, bit]) => sum | (levels[what] === deny ? bit : 0), 0);
}

module.exports = { prepare, holdForNow, holdForAll, during, bits };
