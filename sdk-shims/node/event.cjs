// Knows the event that is being handled, and says whether text came with it.
//
// The runtime client's native module hands the event out as text, and `evaluate.cjs` gives it on here. Nothing is done
// with it before there is something to compare; then it is taken apart, once. It follows no data, so what was changed
// on the way (compressed, put together from pieces) is not known again. Everything is bounded, whatever the event holds.
'use strict';

/** Shorter text stands in many places by chance. */
const SHORTEST = 8;
const MAX_VALUES = 4096;
const MAX_TEXT = 1 << 20;
/** How often a text inside a text is opened: the body of a message in the body of a request. */
const MAX_DEPTH = 3;
/** Characters that are looked through for one event: 50 ms, half a second where text and event are made to take long. */
const MAX_WORK = 1 << 26;
/** Events that one thread may handle at the same time. Lambda says the number where it is not one. */
const MAX_EVENTS = Number(process.env.AWS_LAMBDA_MAX_CONCURRENCY) > 1 ? 16 : 1;

/** What makes a text more than words: it calls, quotes or ends something. */
const CODE = /[(\[{`'"\\;]|__/;
/** How packages look for the global object, and single names: whoever writes that into an event has said nothing. */
const EVERYDAY = /^(?:return this;?|[\w$]+)$/;
/** What ends a string literal. */
const ENDS = /['"`\\\n\r\u2028\u2029]/;
const BASE64 = /^[A-Za-z0-9+/_-]+={0,2}$/;
const HEX = /^(?:[0-9a-fA-F]{2})+$/;

const parse = JSON.parse;
/** The events, the newest last: `{ body, values, work }`, and of each value what it is like. */
const events = [];

/** An event has come. */
function came(body) {
  if (typeof body !== 'string') return;
  if (events.length >= MAX_EVENTS) events.shift();
  events.push({ body, values: undefined, work: MAX_WORK });
}

/** Whether there has been one. */
function isThere() {
  return events.length > 0;
}

/** Whether the text stands in an event, or a part of an event that reads like code stands in the text. */
function holds(text) {
  const wanted = text.trim();
  return wanted.length >= SHORTEST && !EVERYDAY.test(wanted) && events.some((event) => shares(event, wanted));
}

function shares(event, wanted) {
  event.values ??= taken(event);
  // Of what is longer than the text only code can be a part, and only what is code can be a part of the text.
  const longer = CODE.test(wanted);
  const escaped = longer ? JSON.stringify(wanted).slice(1, -1) : '';
  for (const { text, code, plain } of event.values) {
    if (text === wanted) return true;
    if (text.length > wanted.length ? !longer : !code) continue;
    event.work -= Math.max(text.length, wanted.length);
    if (event.work < 0) return false;
    if (text.length > wanted.length ? text.includes(wanted) || text.includes(escaped) : isCodeOf(text, plain, wanted)) return true;
  }
  return false;
}

/** Whether a value is a part of the text, and not each time a string literal and nothing else: that is data. */
function isCodeOf(value, plain, text) {
  for (let at = text.indexOf(value); at >= 0; at = text.indexOf(value, at + value.length)) {
    const quote = text[at - 1];
    if (!plain || (quote !== '"' && quote !== "'") || text[at + value.length] !== quote) return true;
  }
  return false;
}

/** The texts in an event, keys too, and those that are encoded in them. */
function taken(event) {
  const found = [];
  const waiting = [[event.body, 0]];
  event.body = '';
  let room = MAX_TEXT;
  for (let left = MAX_VALUES; waiting.length && left > 0 && room > 0; left -= 1) {
    const [value, depth] = waiting.pop();
    if (value !== null && typeof value === 'object') {
      for (const each of parts(value, left - waiting.length)) waiting.push([each, depth]);
    } else if (typeof value === 'string' && value.length >= SHORTEST) {
      if (depth <= MAX_DEPTH) waiting.push(...opened(value).map((each) => [each, depth + 1]));
      // The event itself is no value.
      if (depth === 0) continue;
      const text = value.slice(0, room).trim();
      room -= text.length;
      found.push({ text, code: CODE.test(text), plain: !ENDS.test(text) });
    }
  }
  return found;
}

function parts(value, most) {
  if (most <= 0) return [];
  if (Array.isArray(value)) return value.slice(0, most);
  return Object.keys(value).slice(0, most).flatMap((key) => [key, value[key]]);
}

/** What stands behind JSON, hex or base64. */
function opened(text) {
  if (/^\s*[[{"]/.test(text)) {
    try {
      return [parse(text)];
    } catch {
      return [];
    }
  }
  const encoded = text.trim();
  if (HEX.test(encoded)) return [Buffer.from(encoded, 'hex').toString()];
  return BASE64.test(encoded) ? [Buffer.from(encoded, 'base64').toString()] : [];
}

module.exports = { came, isThere, holds };
