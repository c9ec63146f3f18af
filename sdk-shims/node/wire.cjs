// The encoding of messages to the agent, as extension/records/src/wire.rs and message.rs define it.
//
// It decides nothing. Texts are cut to the limits that the agent's side has, so a message always fits one datagram.
// `hints.cjs` and `reads.cjs` call it.
'use strict';

const { isIPv4, isIPv6 } = addresses();

const MAX_MESSAGE = 4096;
/** Bytes of a field with a number. */
const NUMBER = 7;

const kind = { VIOLATION: 1, HINT: 2, HOOK_UP: 6 };
const action = {
  EXEC: 1,
  MAP_EXECUTABLE: 2,
  CONNECT: 3,
  SEND: 4,
  RESOLVE: 5,
  BIND: 6,
  OPEN_READ: 7,
  OPEN_WRITE: 8,
  READ_CREDENTIAL: 9,
  DANGEROUS: 11,
  EVALUATE: 14,
  DESERIALIZE: 15,
  NATIVE: 16,
  IMPORT: 17,
};
const tag = {
  PID: 1,
  PARENT: 2,
  ACTION: 4,
  OUTCOME: 5,
  RULE: 6,
  PLANE: 7,
  PATH: 8,
  ARGUMENT: 9,
  ADDRESS: 10,
  NAME: 11,
  EXE: 12,
  CODE: 13,
  FRAME: 14,
  DETAIL: 16,
  DROPPED: 17,
};
const OUTCOME_REPORTED = 1;
const OUTCOME_BLOCKED = 2;
const RULE_PROCESS_ALLOW = 1;
const RULE_EGRESS_ALLOW = 9;
const RULE_TMP_WRITES = 15;
const RULE_FILES_DENY_READ = 18;
const RULE_CREDENTIALS_READS = 21;
const RULE_CODE_EVALUATE = 27;
const RULE_CODE_DESERIALIZE = 28;
const RULE_CODE_NATIVE = 29;
const RULE_CODE_IMPORTS = 30;
const PLANE_PROCESS = 2;

const MAX_ARGUMENTS = 8;
const MAX_TEXT = 256;
const LIMITS = { [tag.PATH]: 1024, [tag.ARGUMENT]: 128, [tag.FRAME]: 128 };

/** Node's own tests for addresses, without loading `net` for them. */
function addresses() {
  const four = /^(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?!$)|$)){4}$/;
  return { isIPv4: (text) => four.test(text), isIPv6: (text) => text.includes(':') };
}

/** The one message that is being written: what writes it runs to its end before another begins. */
const buffer = Buffer.alloc(MAX_MESSAGE);
let used = 0;

/** Begins a message. */
function begin(which) {
  used = 4;
  buffer[0] = 0x52;
  buffer[1] = 0x46;
  buffer[2] = 1;
  buffer[3] = which;
}

/** Adds a text or bytes; what has no room is left out. Room for a DROPPED field is kept. */
function field(which, value) {
  const limit = LIMITS[which] || MAX_TEXT;
  if (used + 3 + limit + NUMBER > MAX_MESSAGE) return;
  const length =
    typeof value === 'string'
      ? buffer.write(value.length > limit ? value.slice(0, limit) : value, used + 3, limit)
      : Buffer.from(value.buffer, value.byteOffset, Math.min(value.byteLength, limit)).copy(buffer, used + 3);
  head(which, length);
  used += 3 + length;
}

function head(which, length) {
  buffer[used] = which;
  buffer[used + 1] = length & 255;
  buffer[used + 2] = length >> 8;
}

/** Adds four bytes. */
function number(which, value) {
  head(which, 4);
  buffer.writeUInt32LE(value >>> 0, used + 3);
  used += NUMBER;
}

/** Adds one byte. */
function byte(which, value) {
  head(which, 1);
  buffer[used + 3] = value;
  used += 4;
}

/** The message; the next one overwrites it. */
function finish() {
  return buffer.subarray(0, used);
}

/** An address as 16 bytes of IPv6 (IPv4 mapped) and the port, or null where `host` is a name. */
function address(host, port) {
  if (typeof host !== 'string' || host.length > 64) return null;
  const bytes = Buffer.alloc(18);
  bytes.writeUInt16LE(port & 0xffff, 16);
  if (isIPv4(host)) {
    bytes[10] = bytes[11] = 255;
    bytes.set(host.split('.').map(Number), 12);
    return bytes;
  }
  return isIPv6(host) && groups(host.split('%')[0], bytes) ? bytes : null;
}

/** Writes the eight groups of an IPv6 address (RFC 4291, section 2.2). */
function groups(text, bytes) {
  const dotted = /^(.*:)([0-9.]+)$/.exec(text);
  if (dotted && isIPv4(dotted[2])) {
    const [a, b, c, d] = dotted[2].split('.').map(Number);
    text = dotted[1] + ((a << 8) | b).toString(16) + ':' + ((c << 8) | d).toString(16);
  }
  const halves = text.split('::');
  if (halves.length > 2) return false;
  const [front, back] = halves.map((half) => (half ? half.split(':') : []));
  const missing = 8 - front.length - (back ? back.length : 0);
  if (back ? missing < 1 : missing !== 0) return false;
  const all = back ? [...front, ...Array(missing).fill('0'), ...back] : front;
  if (!all.every((group) => /^[0-9a-fA-F]{1,4}$/.test(group))) return false;
  all.forEach((group, index) => bytes.writeUInt16BE(parseInt(group, 16), index * 2));
  return true;
}

module.exports = {
  kind,
  action,
  tag,
  OUTCOME_REPORTED,
  OUTCOME_BLOCKED,
  RULE_PROCESS_ALLOW,
  RULE_EGRESS_ALLOW,
  RULE_TMP_WRITES,
  RULE_FILES_DENY_READ,
  RULE_CREDENTIALS_READS,
  RULE_CODE_EVALUATE,
  RULE_CODE_DESERIALIZE,
  RULE_CODE_NATIVE,
  RULE_CODE_IMPORTS,
  PLANE_PROCESS,
  MAX_ARGUMENTS,
  begin,
  field,
  number,
  byte,
  finish,
  address,
};
