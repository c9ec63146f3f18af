// Node itself: children of every kind, worker threads, fetch, dns, servers, files, signals, wasm.

import { exec, execFile, fork, spawn } from "node:child_process";
import { once } from "node:events";
import dgram from "node:dgram";
import dns from "node:dns/promises";
import fs from "node:fs/promises";
import http from "node:http";
import net from "node:net";
import { promisify } from "node:util";
import { Worker } from "node:worker_threads";

const text = async (stream) => Buffer.concat(await stream.toArray()).toString();

async function children() {
  const sed = spawn("/usr/bin/sed", ["s/x/y/"]);
  sed.stdin.end("xx\n");
  const output = text(sed.stdout);
  const [code] = await once(sed, "close");
  const killed = spawn("/usr/bin/sed", ["p"]);
  killed.kill("SIGTERM");
  const [, signal] = await once(killed, "close");
  const forked = fork("/var/task/child.mjs", { env: {} });
  forked.send({ number: 21 });
  const [message] = await once(forked, "message");
  forked.disconnect();
  const missing = await promisify(execFile)("/usr/bin/there-is-none").catch((error) => error.code);
  return { sed: await output, code, signal, message, missing, shell: (await promisify(exec)("echo $((6*7)) | sed s/4/5/")).stdout };
}

async function workers() {
  const made = Array.from({ length: 8 }, (_, number) => new Worker("/var/task/worker.mjs", { workerData: number }));
  return Promise.all(made.map(async (worker) => (await once(worker, "message"))[0]));
}

async function servers() {
  const server = http.createServer((request, response) => response.end(request.url)).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  const answers = await Promise.all(Array.from({ length: 64 }, async (_, number) => (await fetch(`http://127.0.0.1:${port}/${number}`)).text()));
  server.closeAllConnections();
  server.close();
  const local = net.createServer((socket) => socket.end("unix")).listen("/tmp/node.sock");
  await once(local, "listening");
  const unix = await text(net.connect("/tmp/node.sock"));
  local.close();
  const receiver = dgram.createSocket("udp4").bind(0, "127.0.0.1");
  await once(receiver, "listening");
  const sender = dgram.createSocket("udp4");
  sender.send("datagram", receiver.address().port, "127.0.0.1");
  const [datagram] = await once(receiver, "message");
  receiver.close();
  sender.close();
  return { answers, unix, datagram: datagram.toString() };
}

async function names() {
  return {
    lookup: await dns.lookup("api.example.com"), resolve: await dns.resolve4("api.example.com"), local: (await dns.lookup("localhost", 4)).address,
  };
}

async function files() {
  await fs.writeFile("/tmp/node.txt", "text");
  const watched = await fs.stat("/tmp/node.txt");
  await fs.cp("/tmp/node.txt", "/tmp/node-copy.txt");
  return { size: watched.size, copy: await fs.readFile("/tmp/node-copy.txt", "utf8"), own: (await fs.readdir("/var/task")).includes("index.mjs") };
}

async function signalled() {
  const arrived = once(process, "SIGUSR2");
  process.kill(process.pid, "SIGUSR2");
  // Waiting for a signal alone keeps no Node alive, nor does its client since version 4.
  const awake = setTimeout(() => {}, 10_000);
  await arrived;
  clearTimeout(awake);
  return true;
}

export async function handler() {
  const answer = await fetch("https://api.example.com/items");
  return {
    children: await children(), workers: await workers(), servers: await servers(), names: await names(), files: await files(),
    signal: await signalled(), fetched: await answer.json(), arguments: process.execArgv,
  };
}
