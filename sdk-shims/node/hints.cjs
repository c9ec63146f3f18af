// Says what is about to happen, and at which line of the function's code, in the words of the agent's protocol.
//
// The agent attaches a hint to a violation of the same process, where one comes. Connections and datagrams happen
// when the function has left the stack, so their place is taken earlier and kept with the handle, the socket or the
// host's name. `ringfence.cjs` calls it; no verdict is given here.
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

/** A hint with one subject. */
function hint(which, subject, value, where) {
  begin(wire.kind.HINT, which);
  wire.field(subject, value);
  end(where);
}

function bytes(value) {
  return typeof value === 'string' || value instanceof Uint8Array ? value : '';
}

/** A program is started. */
function executed(path, given) {
  const where = here();
  begin(wire.kind.HINT, action.EXEC);
  wire.field(tag.PATH, bytes(path));
  for (const argument of (given || []).slice(0, wire.MAX_ARGUMENTS)) wire.field(tag.ARGUMENT, bytes(argument));
  end(where);
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
  if (address) hint(which, tag.ADDRESS, address, whereOf(handle, host));
}

/** A stream or a datagram socket is connected. */
function connected(handle, host, port) {
  towards(action.CONNECT, handle, host, port);
}

/** A datagram with an address is sent. */
function sent(handle, host, port) {
  towards(action.SEND, handle, host, port);
}

/** An address is bound. */
function bound(host, port) {
  const address = wire.address(host, port);
  if (address) hint(action.BIND, tag.ADDRESS, address, here());
  else hint(action.BIND, tag.NAME, bytes(host), here());
}

/** A name is looked up. */
function resolved(name) {
  if (typeof name !== 'string') return;
  const host = name.toLowerCase();
  let where = here();
  if (where.own) keep(host, where);
  else where = expected.get(host) || where;
  hint(action.RESOLVE, tag.NAME, name, where);
}

/** A file that rules speak of is opened. */
function opened(path) {
  hint(action.OPEN_READ, tag.PATH, path, here());
}

/** A native library is opened. */
function mapped(path) {
  hint(action.MAP_EXECUTABLE, tag.PATH, bytes(path), here());
}

/** A call that policies may deny by its name. */
function dangerous(name) {
  hint(action.DANGEROUS, tag.NAME, name, here());
}

module.exports = { begin, end, executed, remember, expect, connected, sent, bound, resolved, opened, mapped, dangerous };
