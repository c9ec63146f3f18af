// Watches what turns text into code, for `code.evaluate` and `code.deserialize` of the policy: Function and its kin, vm,
// worker threads, Module.prototype._compile, and eval.
//
// It decides nothing: `detections.cjs` compares the text with the event, and says whether the call is refused. Of eval
// Node tells nobody the text, so there it goes by who refers to it. `ringfence.cjs` loads this file where the policy has
// one of the keys, before the function's code. All that it replaces must be to that code what it was.
'use strict';

const { apply, construct } = Reflect;
const { defineProperty, getOwnPropertyDescriptor, getPrototypeOf, setPrototypeOf } = Object;
const EACCES = -13;

const event = require('./event.cjs');
let detector;
/** Whether something is being judged: what that loads and does itself is not. */
let judging = false;

/** Has all evaluation judged: of `words`, `evaluate` and `deserialize`, each is "report", "deny" or nothing; `variables` is
 * the environment. */
function watch(words, variables, installed) {
  const detections = () => (detector ??= require('./detections.cjs'));
  const refused = (name, key) => Object.assign(new Error(`EACCES: ${name} is denied by code.${key} of the policy`), { code: 'EACCES', errno: EACCES });
  // Data is read in init, too.
  const isJudged = () => Boolean(words.deserialize) || event.isThere();
  const judge = (name, texts) => {
    if (!isJudged()) return;
    const key = unless(() => detections().refusesText(name, texts, words, variables));
    if (key) throw refused(name, key);
  };
  const denied = (key) => () => {
    throw refused('eval', key);
  };
  const fails = { deserialize: denied('deserialize'), evaluate: denied('evaluate') };
  const refers = () => fails[unless(() => detections().refusesEval(words, variables))];
  const watches = [() => functions(judge, isJudged), () => evals(refers), () => contexts(judge)];
  if (words.evaluate) watches.push(clients, () => threads(judge), () => modules(judge));
  watches.forEach((each) => installed(each));
  installed(() => require('module').syncBuiltinESMExports());
}

/** What `ask` answers, and false where it fails: what cannot be judged goes on. */
function unless(ask) {
  if (judging) return false;
  judging = true;
  try {
    return ask();
  } catch {
    return false;
  } finally {
    judging = false;
  }
}

/** What stands in the place of `target` and is the same in all but that `see` is given the arguments first, and may give
 * others or throw. */
function seen(target, see) {
  const proxy = new Proxy(target, {
    apply: (_, self, given) => apply(target, self, see(given)),
    // A class of the function's that extends this one stays the one that is made.
    construct: (_, given, made) => construct(target, see(given), made === proxy ? target : made),
  });
  return proxy;
}

/** The same for a constructor that is asked `instanceof` all day: a bound function answers as fast as the real one, a
 * proxy takes half a microsecond. */
function stands(target, see) {
  const called = function (...given) {
    if (new.target === undefined) return apply(target, this, see(given));
    return construct(target, see(given), new.target === called ? target : new.target);
  };
  called.prototype = target.prototype;
  const bound = called.bind();
  for (const name of ['length', 'name', 'prototype']) defineProperty(bound, name, getOwnPropertyDescriptor(target, name));
  return setPrototypeOf(bound, getPrototypeOf(target));
}

/** Puts `value` in the place of a property and leaves the rest of it as it was. */
function put(holder, name, value) {
  defineProperty(holder, name, { ...getOwnPropertyDescriptor(holder, name), value });
}

/** The runtime client: what its native module hands out is the event. */
function clients() {
  const isClient = /^(?:\/var\/runtime\/|.*\/aws-lambda-ric\/).*rapid-client\.node$/;
  const { dlopen } = process;
  const opened = function (...given) {
    const answer = apply(dlopen, this, given);
    if (isClient.test(given[1])) unless(() => listen(given[0].exports));
    return answer;
  };
  defineProperty(opened, 'name', { value: 'dlopen', configurable: true });
  defineProperty(opened, 'length', { value: dlopen.length, configurable: true });
  put(process, 'dlopen', opened);
}

function listen(client) {
  const { next } = client;
  client.next = function (...given) {
    const coming = apply(next, this, given);
    // Before the client's own: it asked later.
    unless(() => coming.then((request) => event.came(request?.bodyJson), () => {}));
    return coming;
  };
}

/** Function, and the constructors that only their functions lead to. */
function functions(judge, isJudged) {
  const see = (name) => (given) => {
    if (!isJudged()) return given;
    // Once, and in the order of the language: an object may have another text the next time.
    const texts = given.map((each) => (typeof each === 'string' ? each : `${each}`));
    judge(name, texts.length > 1 ? [...texts, texts.join('\n')] : texts);
    return texts;
  };
  const { prototype } = Function;
  const own = stands(Function, see('Function'));
  const kin = [async function () {}, function* () {}, async function* () {}].map(getPrototypeOf);
  for (const each of kin) {
    const target = each.constructor;
    // They extend Function, and would lead to the one behind ours.
    setPrototypeOf(target, own);
    put(each, 'constructor', stands(target, see(target.name)));
  }
  put(prototype, 'constructor', own);
  put(globalThis, 'Function', own);
}

/** eval: a wrapper would take the local variables from the code. The getter gives the real one, so a direct call stays
 * one, and learns who refers to it. */
function evals(refers) {
  const real = globalThis.eval;
  const { enumerable, configurable } = getOwnPropertyDescriptor(globalThis, 'eval');
  defineProperty(globalThis, 'eval', {
    enumerable,
    configurable,
    get: () => refers() ?? real,
    set(value) {
      const own = this === undefined || this === globalThis;
      defineProperty(own ? globalThis : this, 'eval', { value, writable: true, enumerable: !own, configurable: true });
    },
  });
}

/** vm.Script, by way of which all of runIn* goes, vm.compileFunction, and modules where the flag for them is set. */
function contexts(judge) {
  const vm = require('vm');
  const made = (name) => (given) => {
    judge(name, [given[0]]);
    return given;
  };
  setPrototypeOf(vm.Script, seen(getPrototypeOf(vm.Script), made('vm.Script')));
  // Its parameters can be nothing but names.
  put(vm, 'compileFunction', seen(vm.compileFunction, made('vm.compileFunction')));
  if (vm.SourceTextModule) put(vm, 'SourceTextModule', seen(vm.SourceTextModule, made('vm.SourceTextModule')));
}

/** Worker threads whose program is a text: `eval: true`, and data: URLs. */
function threads(judge) {
  const threads = require('worker_threads');
  const { prototype } = threads.Worker;
  const Worker = seen(threads.Worker, (given) => {
    const [program, options] = given;
    if (!event.isThere()) return given;
    if (program instanceof URL && program.protocol === 'data:') judge('Worker', [dataOf(program), program.href]);
    else if (typeof program === 'string' && options?.eval) judge('Worker', [program]);
    return given;
  });
  put(prototype, 'constructor', Worker);
  put(threads, 'Worker', Worker);
}

/** The text behind a data: URL (RFC 2397). */
function dataOf(url) {
  const [, kind, data] = /^data:([^,]*),(.*)$/s.exec(url.href) || [];
  if (/;base64$/.test(kind)) return Buffer.from(decodeURIComponent(data), 'base64').toString();
  return data && decodeURIComponent(data);
}

/** A text that is made a module by hand. The loader's own are files. */
function modules(judge) {
  const { prototype } = require('module');
  const { _compile } = prototype;
  const compile = seen(_compile, (given) => {
    if (event.isThere() && typeof given[0] === 'string' && !isLoaders()) judge('Module._compile', [given[0]]);
    return given;
  });
  put(prototype, '_compile', compile);
}

/** Whether Node's loader calls. */
function isLoaders() {
  return unless(() => {
    const origin = require('./origin.cjs');
    const caller = origin.sites(isLoaders).find((site) => origin.kindOf(site) !== origin.HOOK && site.getFileName());
    return caller && origin.file(caller).startsWith('node:internal/modules/');
  });
}

module.exports = { watch };
