// The way to the agent: a datagram socket that the launcher has connected and left open for us.
//
// Node's core cannot make AF_UNIX datagram sockets, but write(2) on one that is there sends a datagram. It never
// blocks (the socket does not) and raises nothing; what could not be sent is counted and told with the next message.
// `hints.cjs` and `reads.cjs` call it.
'use strict';

const { writeSync, fstatSync } = require('fs');
const { number, finish, tag } = require('./wire.cjs');

const descriptor = Number(process.env.RINGFENCE_REPORT_FD);
let inode = null;
let dropped = 0;

/** Sends the message that was written, or drops it. */
function send() {
  if (!isOurs()) return;
  try {
    if (dropped) number(tag.DROPPED, dropped);
    writeSync(descriptor, finish());
    dropped = 0;
  } catch {
    dropped += 1;
  }
}

/** The function may close every descriptor and get our number for a file of its own: the inode tells. */
function isOurs() {
  try {
    const status = fstatSync(descriptor);
    if (inode === null) inode = status.isSocket() ? status.ino : NaN;
    return status.ino === inode;
  } catch {
    return false;
  }
}

// Known from the beginning, before the function can put something else in its place.
isOurs();

module.exports = { send };
