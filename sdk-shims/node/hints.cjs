// Says what is about to happen, and at which line of the function's code, in the words of the agent's protocol.
//
// The agent attaches a hint to a violation of the same process, where one comes. Connections and datagrams happen
// when the function has left the stack, so their place is taken earlier and kept with the handle, the socket or the
// host's name. `ringfence.cjs` calls it. Verdicts are not given here, but by `scopes.cjs` where the function has loaded
// that: what a scope speaks of is sent as a violation, and true comes back for what it denies.
'use strict';

const origin = require('./origin.cjs');
const wire = require('./wire.cjs');
const { send } = require('./channel.cjs');

const { action, tag } = wire;

/** Handle or socket → place. */
const places = new WeakMap();
/** Host → place, of the last that asked for it. */
const expected = new Map();
const MAX_EXPECTED = 64;

/** What a scope limits, and the rule that its violation names. */
const RULES = {
  tmp: wire.RULE_TMP_WRITES,
  egress: wire.RULE_EGRESS_ALLOW,
  children: wire.RULE_PROCESS_ALLOW,
  files: wire.RULE_FILES_DENY_READ,
};
const DENY = 2;
let level = () => 0;

/** Lets `judge(kind, subject)` say how strict a scope is: 0 not at all, 1 report, 2 deny. */
function judgeBy(judge) {
  level = judge;
}

/** Where the function is now. */
function here() {
  return origin.locate(origin.sites(here));
}

/** Begins a message: who speaks, and what was or will be done. */
function begin(kind, which) {
  wire.begin(kind);
  wire.number(tag.PID, process.pid);
  wire.number(tag.PARENT, process.ppid);
  wire.byte(tag.ACTION, which);
}

/** Ends it: where in the code, and by which executable. */
function end(where) {
  wire.field(tag.CODE, where.code);
  wire.field(tag.EXE, process.execPath);
  for (const frame of where.frames) wire.field(tag.FRAME, frame);
  send();
}

/** Begins a hint, or the violation of a scope. */
function beginAt(strictness, kind, which) {
  begin(strictness ? wire.kind.VIOLATION : wire.kind.HINT, which);
  if (!strictness) return;
  wire.byte(tag.OUTCOME, strictness === DENY ? wire.OUTCOME_BLOCKED : wire.OUTCOME_REPORTED);
  wire.byte(tag.RULE, RULES[kind]);
  wire.byte(tag.PLANE, wire.PLANE_PROCESS);
  wire.field(tag.DETAIL, `by a scope of the function (${kind})`);
}

/** A hint with one subject. */
function hint(which, subject, value, where, kind = '', strictness = 0) {
  beginAt(strictness, kind, which);
  wire.field(subject, value);
  end(where);
  return strictness === DENY;
}

function bytes(value) {
  return typeof value === 'string' || value instanceof Uint8Array ? value : '';
}

/** A program is started. */
function executed(path, given) {
  const found = origin.sites(executed);
  const where = origin.locate(found);
  const strictness = level('children', path);
  beginAt(strictness, 'children', action.EXEC);
  wire.field(tag.PATH, bytes(path));
  for (const argument of (given || []).slice(0, wire.MAX_ARGUMENTS)) wire.field(tag.ARGUMENT, bytes(argument));
  const asked = strictness ? '' : origin.asker(found);
  if (asked) wire.field(tag.DETAIL, `asked for by ${asked}`);
  end(where);
  return strictness === DENY;
}

/** Keeps where the function is now with an object that it will connect or send by. */
function remember(object) {
  const where = here();
  if (where.own || !places.has(object)) places.set(object, where);
}

/** Keeps it for a host. */
function expect(host) {
  const where = here();
  if (where.own) keep(host.replace(/^\[|\]$/g, '').toLowerCase(), where);
}

function keep(host, where) {
  if (expected.size >= MAX_EXPECTED) expected.clear();
  expected.set(host, where);
}

/** The socket that a handle belongs to: Node keeps it under a symbol of its own. */
function owner(handle) {
  const symbol = Object.getOwnPropertySymbols(handle).find((each) => each.description === 'owner_symbol');
  return symbol ? handle[symbol] : undefined;
}

/** The best that is known about who acts by `handle`. */
function whereOf(handle, host) {
  const socket = owner(handle);
  const candidates = [here(), places.get(socket), places.get(handle), socket && expected.get(socket._host), expected.get(host)];
  const best = candidates.find((where) => where && where.own) || candidates.find((where) => where && where.code);
  if (socket && best && !places.has(socket)) places.set(socket, best);
  return best || { code: '', frames: [] };
}

function towards(which, handle, host, port) {
  const address = wire.address(host, port);
  if (!address) return false;
  return hint(which, tag.ADDRESS, address, whereOf(handle, host), 'egress', level('egress', host));
}

/** A stream or a datagram socket is connected. */
function connected(handle, host, port) {
  return towards(action.CONNECT, handle, host, port);
}

/** A datagram with an address is sent. */
function sent(handle, host, port) {
  return towards(action.SEND, handle, host, port);
}

/** An address is bound. */
function bound(host, port) {
  const address = wire.address(host, port);
  if (address) hint(action.BIND, tag.ADDRESS, address, here());
  else hint(action.BIND, tag.NAME, bytes(host), here());
}

/** A name is looked up. */
function resolved(name) {
  if (typeof name !== 'string') return false;
  const host = name.toLowerCase();
  let where = here();
  if (where.own) keep(host, where);
  else where = expected.get(host) || where;
  return hint(action.RESOLVE, tag.NAME, name, where, 'egress', level('egress', name));
}

/** A file that rules speak of is opened. */
function opened(path) {
  hint(action.OPEN_READ, tag.PATH, path, here());
}

/** A file that a scope limits is read or changed. */
function touched(path, reads, kind, strictness) {
  return hint(reads ? action.OPEN_READ : action.OPEN_WRITE, tag.PATH, path, here(), kind, strictness);
}

/** A native library is opened. */
function mapped(path) {
  hint(action.MAP_EXECUTABLE, tag.PATH, bytes(path), here());
}

/** A call that policies may deny by its name. */
function dangerous(name) {
  hint(action.DANGEROUS, tag.NAME, name, here());
}

module.exports = {
  begin, end, judgeBy, executed, remember, expect, connected, sent, bound, resolved, opened, touched, mapped, dangerous,
}; // prettier-ignore
