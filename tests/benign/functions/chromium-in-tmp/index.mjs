// A screenshot service with the Chromium that is packed for Lambda: it is unpacked into /tmp and run there.

import { createServer } from "node:http";

import chromium from "@sparticuz/chromium";
import puppeteer from "puppeteer-core";

const PAGE = "<title>An invoice</title><body style='margin:0;background:#0a0'><h1>42</h1><script>document.body.dataset.sum = 6 * 7</script>";

async function serve() {
  const server = createServer((request, answer) => answer.end(PAGE));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

// What the picture's header says of its size: 16 bytes into every PNG.
const size = (png) => [png.readUInt32BE(16), png.readUInt32BE(20)];

export async function handler() {
  const server = await serve();
  const browser = await puppeteer.launch({
    executablePath: await chromium.executablePath(),
    args: chromium.args,
    headless: "shell",
  });
  const page = await browser.newPage();
  await page.setViewport({ width: 320, height: 200 });
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  const made = {
    title: await page.title(),
    sum: await page.evaluate(() => document.body.dataset.sum),
    picture: size(Buffer.from(await page.screenshot())),
    paper: Buffer.from(await page.pdf()).subarray(0, 5).toString(),
  };
  await browser.close();
  server.close();
  return made;
}
