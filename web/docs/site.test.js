/** Builds the site of the documents, which fails if a link leads nowhere, and reads in it. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { once } from "node:events";
import { extname, join } from "node:path";
import { after, before, test } from "node:test";
import { launch, person } from "../e2e/browser.js";
import { cleanUp } from "../e2e/hooks.js";
import { scratch } from "./blocks.js";

const site = join(scratch, "site");
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css" };
let browser, server, url;

before(async () => {
  execFileSync(process.execPath, [join(import.meta.dirname, "site/build.js"), site], { stdio: ["ignore", "ignore", "inherit"] });
  server = createServer((request, response) => {
    const file = join(site, decodeURIComponent(new URL(request.url, "http://localhost").pathname));
    if (!existsSync(file) || statSync(file).isDirectory()) return void response.writeHead(404).end();
    response.setHeader("Content-Type", TYPES[extname(file)] ?? "application/octet-stream");
    response.end(readFileSync(file));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  url = `http://127.0.0.1:${server.address().port}/`;
  browser = await launch({ camera: false });
}, { timeout: 300_000 });
cleanUp(() => browser);
after(() => server?.close());

test("pages load nothing from elsewhere, and fit a phone", async () => {
  const page = await person(browser, { viewport: { width: 390, height: 844 } });
  const elsewhere = [];
  page.on("request", (request) => request.url().startsWith(url) || request.url().startsWith("data:") || elsewhere.push(request.url()));
  for (const path of ["index", "documentation", "frontend", "operations", "troubleshooting", "http-api", "api/inbox/functions/connect", "go-client"]) {
    await page.goto(`${url}${path}.html`);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${path} is too wide`);
  }
  assert.deepEqual(elsewhere, []);
});

test("the search finds a line of the log, a setting, and a function of the SDK", async () => {
  const page = await person(browser);
  for (const [words, path] of [["out of file descriptors", "troubleshooting.html"], ["turn-rate-total", "operations.html"], ["connect options timeout", "api/"]]) {
    await page.goto(`${url}index.html`);
    await page.click("#local-search button");
    await page.fill("#localsearch-input", words);
    await page.locator(`.results a[href*="${path}"]`).first().waitFor();
  }
});
