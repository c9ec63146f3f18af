// More events than Node's pool has threads, whose turn it is each time to wait for the next: the client asks from another
// thread, and answers from the main one. Every thread of the pool is busy meanwhile, so that all of them take a turn.

import { execFile } from "node:child_process";
import { once } from "node:events";
import { pbkdf2 } from "node:crypto";
import { promisify } from "node:util";
import { Worker } from "node:worker_threads";

const standing = new Worker('require("node:worker_threads").parentPort.on("message", function (n) { this.postMessage(n * 2) })', { eval: true });
standing.unref();
let count = 0;

export async function handler(event) {
  count += 1;
  const doubled = once(standing, "message");
  standing.postMessage(event.number);
  const keys = await Promise.all(Array.from({ length: 9 }, () => promisify(pbkdf2)("password", `${event.number}`, 2000, 16, "sha256")));
  const { stdout } = await promisify(execFile)("/usr/bin/sed", ["--version"]);
  const [double] = await doubled;
  // Without a trace: it tells in which order the promises above were settled.
  if (event.number === 3) throw Object.assign(new RangeError("the third fails"), { stack: "RangeError" });
  return { count, double, keys: new Set(keys.map((key) => key.toString("hex"))).size, sed: stdout.includes("sed") };
}
