// A response that is streamed: more than 6 MB of it, in pieces, and one that fails half way in the second event.

import { setTimeout as pause } from "node:timers/promises";

let count = 0;

export const handler = awslambda.streamifyResponse(async (event, stream) => {
  count += 1;
  stream.setContentType("text/plain");
  for (let number = 0; number < 80; number += 1) {
    if (!stream.write(`${number}`.padEnd(100_000, "."))) await new Promise((resolve) => stream.once("drain", resolve));
    if (number % 20 === 0) await pause(5);
  }
  stream.end(`the end of answer ${count}`);
});
