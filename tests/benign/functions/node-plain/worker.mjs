import { parentPort, workerData } from "node:worker_threads";
import fs from "node:fs";

fs.writeFileSync(`/tmp/worker-${workerData}`, "x");
fs.unlinkSync(`/tmp/worker-${workerData}`);
parentPort.postMessage(workerData * workerData);
