/** One Chromium, the pages that it opens, and the programs that tests start besides the server. */

import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { randomBytes } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createSocket } from "node:net";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { chromium } from "playwright-core";
import { chromiumOptions } from "./chromium.js";
import { folder, run, stopServers } from "./server.js";

let browser;
let pages;

/**
 * Starts a browser, and a server of the files for its pages.
 * @param {Record<string, [type: string, content: string | Buffer]>} files by path
 */
export async function startBrowser(files) {
  pages = createServer((request, response) => {
    const [type, content] = files[new URL(request.url, "http://localhost").pathname] ?? ["text/plain", ""];
    response.setHeader("Content-Type", type);
    response.end(content);
  }).listen(0, "127.0.0.1");
  await once(pages, "listening");
  browser = await chromium.launch(chromiumOptions({ names: false }));
}

/** Returns a page's HTML with scripts. @param {string} title @param {...string} scripts their paths */
export const html = (title, ...scripts) =>
  `<!doctype html><meta charset="utf-8"><title>${title}</title><link rel="icon" href="data:,">${
    scripts.map((path) => `<script src="${path}"></script>`).join("")}`;

/** Stops the browser and all programs. */
export async function stopAll() {
  await browser?.close();
  pages?.close();
  await stopServers();
}

/** Opens the page / with separate storage, so that pages reach each other only over the network. */
export async function openPage() {
  const page = await (await browser.newContext()).newPage();
  await page.goto(`http://localhost:${pages.address().port}/`);
  return page;
}

export const closePages = () => Promise.all(browser.contexts().map((context) => context.close()));

export async function freePort() {
  const socket = createSocket().listen(0, "127.0.0.1");
  await once(socket, "listening");
  const { port } = socket.address();
  socket.close();
  await once(socket, "close");
  return port;
}

/** Retries for 20 seconds until attempt succeeds. */
export async function eventually(attempt) {
  for (const deadline = Date.now() + 20_000; ; await sleep(50)) {
    try {
      return await attempt();
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
  }
}

/** Returns the flags of servers that share a Redis, and nothing with the servers of another call. */
export async function sharedStore() {
  const home = folder();
  const pepper = join(home, "pepper");
  writeFileSync(pepper, randomBytes(32).toString("hex"), { mode: 0o600 });
  return ["--store", await startRedis(), "--pepper-file", pepper, "--redis-prefix", `${basename(home)}:`];
}

let redis;

/** Returns the URL of the tests' Redis: INBOX_REDIS, or one that it starts. */
const startRedis = () => (redis ??= process.env.INBOX_REDIS ?? (async () => {
  const port = await freePort();
  run(redisServer(), ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"], { argv0: "redis-server" });
  await eventually(() => execFileSync("redis-cli", ["-p", String(port), "ping"], { stdio: "ignore" }));
  return `redis://127.0.0.1:${port}`;
})());

/** Debian's redis-tools contains it under another name and starts no service. */
function redisServer() {
  for (const name of ["redis-server", "valkey-server", "redis-check-rdb"]) {
    for (const path of process.env.PATH.split(":")) {
      if (existsSync(join(path, name))) return join(path, name);
    }
  }
  throw new Error("redis-server is not installed, and this test needs it: apt-get install redis-tools");
}
