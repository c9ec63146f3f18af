// A screenshot service: Chromium, started by puppeteer-core as functions do it, renders a page that the function serves.

import { createServer } from "node:http";

import puppeteer from "puppeteer-core";

const PAGE = "<title>An invoice</title><body style='margin:0;background:#0a0'><h1>42</h1><script>document.body.dataset.sum = 6 * 7</script>";

async function serve() {
  const server = createServer((request, answer) => answer.end(PAGE));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

// What the picture's header says of its size: 16 bytes into every PNG.
const size = (png) => [png.readUInt32BE(16), png.readUInt32BE(20)];

export async function handler({ executable, processes }) {
  const server = await serve();
  const browser = await puppeteer.launch({
    executablePath: executable,
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", ...processes],
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
