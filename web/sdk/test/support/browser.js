/** Pages of a real browser, with the SDK in them. */

import { createServer } from "node:http";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { chromiumOptions } from "../../../e2e/chromium.js";

const dist = join(import.meta.dirname, "../../dist");
const page = `<!doctype html><meta charset="utf-8"><title>SDK</title><link rel="icon" href="data:,"><script type="module">
import * as sdk from "/inbox.js";
Object.assign(globalThis, sdk);
await import("/page.js");
globalThis.ready = true;
</script>`;

let browser;
let origin;
let files;

export async function startBrowser() {
  files = createServer((request, response) => {
    const script = request.url.endsWith(".js");
    response.setHeader("Content-Type", script ? "text/javascript" : "text/html");
    const folder = request.url === "/page.js" ? import.meta.dirname : dist;
    response.end(script ? readFileSync(join(folder, request.url)) : page);
  }).listen(0, "127.0.0.1");
  await once(files, "listening");
  origin = `http://localhost:${files.address().port}/`;
  browser = await chromium.launch(chromiumOptions({ names: false }));
}

export async function stopBrowser() {
  await browser?.close();
  files?.close();
}

/** Returns the unexpected errors of pages since the last call. */
const faults = [];
export function takeFaults() {
  return faults.splice(0);
}

/** Opens a page in a separate browser context. */
export async function openPage(context) {
  context ??= await browser.newContext();
  const page = await context.newPage();
  page.on("pageerror", (error) => {
    // The rejections of loops that the cleanup ends.
    if (!/InboxError: The inbox was closed/.test(error.stack)) faults.push(String(error.stack));
  });
  await page.goto(origin);
  await page.waitForFunction(() => globalThis.ready);
  return page;
}

export function newContext() {
  return browser.newContext();
}
