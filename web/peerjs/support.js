/** Browsers with the PeerJS client in them, and the servers that they talk to. */

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createSocket } from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { chromium } from "playwright-core";
import { chromiumOptions } from "../e2e/chromium.js";
import { program, startServer, stopServers } from "../e2e/server.js";

const here = import.meta.dirname;
const files = {
  "/": ["text/html", `<!doctype html><meta charset="utf-8"><title>PeerJS</title><link rel="icon" href="data:,">
<script src="/peerjs.min.js"></script><script src="/page.js"></script>`],
  "/page.js": ["text/javascript", readFileSync(join(here, "page.js"))],
  // The client as published.
  "/peerjs.min.js": ["text/javascript", readFileSync(join(here, "node_modules/peerjs/dist/peerjs.min.js"))],
};

let browser;
let pages;

export async function startBrowser() {
  pages = createServer((request, response) => {
    const [type, content] = files[request.url] ?? ["text/plain", ""];
    response.setHeader("Content-Type", type);
    response.end(content);
  }).listen(0, "127.0.0.1");
  await once(pages, "listening");
  browser = await chromium.launch(chromiumOptions({ names: false }));
}

const children = new Set();

export async function stopAll() {
  await browser?.close();
  pages?.close();
  await stopServers();
  await Promise.all([...children].map(async (child) => {
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
  }));
}

/** Starts a program that ends with the tests. */
function run(command, args, argv0) {
  const child = spawn(command, args, { argv0, stdio: ["ignore", "ignore", "inherit"] });
  children.add(child);
  child.once("exit", () => children.delete(child));
}

async function freePort() {
  const socket = createSocket().listen(0, "127.0.0.1");
  await once(socket, "listening");
  const { port } = socket.address();
  socket.close();
  await once(socket, "close");
  return port;
}

/** Retries until it succeeds. */
async function eventually(attempt) {
  for (const deadline = Date.now() + 20_000; ; await sleep(50)) {
    try {
      return await attempt();
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
  }
}

/** The address of a Redis for these tests: named by INBOX_REDIS, or started. */
let redis;
async function startRedis() {
  if (process.env.INBOX_REDIS) return process.env.INBOX_REDIS;
  redis ??= (async () => {
    const port = await freePort();
    run(redisServer(), ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"], "redis-server");
    await eventually(() => execFileSync("redis-cli", ["-p", String(port), "ping"], { stdio: "ignore" }));
    return `redis://127.0.0.1:${port}`;
  })();
  return redis;
}

/** Debian's redis-tools contains it under another name and starts no service. */
function redisServer() {
  for (const name of ["redis-server", "valkey-server", "redis-check-rdb"]) {
    for (const folder of process.env.PATH.split(":")) {
      if (existsSync(join(folder, name))) return join(folder, name);
    }
  }
  throw new Error("redis-server is not installed, and this test needs it: apt-get install redis-tools");
}

/**
 * The servers under test. start starts one or more that act as one; path and key are the
 * client's options.
 */
export const targets = {
  "inbox": {
    start: async ({ path = "/", key = "peerjs", more = [] }) => [await startServer([...flags(path, key), ...more])],
  },
  "two inboxes, one Redis": {
    start: async ({ path = "/", key = "peerjs" }) => {
      const store = await startRedis();
      const folder = mkdtempSync(join(tmpdir(), "inbox-peerjs-"));
      process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
      const pepper = join(folder, "pepper");
      writeFileSync(pepper, randomBytes(32), { mode: 0o600 });
      const shared = ["--store", store, "--pepper-file", pepper, "--redis-prefix", `${basename(folder)}:`];
      return Promise.all([1, 2].map(() => startServer([...flags(path, key), ...shared])));
    },
  },
  "peerjs-server": {
    start: async ({ path = "/", key = "peerjs" }) => {
      const port = await freePort();
      run(process.execPath, [join(here, "node_modules/peer/dist/bin/peerjs.js"), "--host", "127.0.0.1", "--port", String(port), "--path", path, "--key", key, "--allow_discovery"]);
      await eventually(() => fetch(`http://127.0.0.1:${port}${path}`));
      return [{ port }];
    },
  },
};

const flags = (path, key) => ["--base-path", path, "--peerjs-key", key, "--peerjs-discovery"];

/** Pages for one test, and servers that it shares with others of the same target. */
export class Stage {
  #contexts = [];

  constructor(target, servers, patience) {
    this.target = target;
    this.servers = servers;
    this.patience = patience;
  }

  /** The options of a Peer at one of the servers: the first, the second, the first … */
  async options(turn, { path = "/", key, ...more } = {}) {
    const name = JSON.stringify([path.replace(/(?<=.)\/$/, ""), key]);
    if (!this.servers.has(name)) this.servers.set(name, targets[this.target].start({ path, key }));
    const servers = await this.servers.get(name);
    const { port } = servers[turn % servers.length];
    return { host: "localhost", port, path, ...(key && { key }), config: { iceServers: [] }, debug: 0, ...more };
  }

  /** A page of another person, in a separate browser context. */
  async page() {
    const context = await browser.newContext();
    this.#contexts.push(context);
    context.setDefaultTimeout(this.patience);
    const page = await context.newPage();
    await page.goto(`http://localhost:${pages.address().port}/`);
    return page;
  }

  /** A page whose Peer is made later. */
  async person(turn, id, options) {
    return new Person(await this.page(), "peer", id, await this.options(turn, options));
  }

  /** A Peer in a separate page. */
  async peer(turn, id, options) {
    const person = await this.person(turn, id, options);
    await person.comes();
    return person;
  }

  async end() {
    await Promise.all(this.#contexts.splice(0).map(async (context) => {
      await Promise.all(context.pages().map((page) => page.evaluate(() => globalThis.cleanUp?.())));
      await context.close();
    }));
  }
}

/** A Peer in a page, as a test sees it. */
class Person {
  constructor(page, name, id, options) {
    Object.assign(this, { page, name, id, options });
  }

  async comes() {
    await this.page.evaluate(([name, id, options]) => make(name, id, options), [this.name, this.id, this.options]);
  }

  /** Waits until a condition on the Peer is true; page.js records told, heard and links on it. */
  async until(condition, argument) {
    const found = await this.page.waitForFunction(
      ([name, text, argument]) => new Function("peer", "argument", `return (${text})(peer, argument)`)(peers[name], argument),
      [this.name, String(condition), argument], { polling: 20 },
    );
    return found.jsonValue();
  }

  tells(what, times = 1) {
    return this.until((peer, [what, times]) => peer.told.filter((one) => one === what).length >= times, [what, times]);
  }

  hears(text) {
    return this.until((peer, text) => peer.heard.includes(text), text);
  }

  do(action, argument) {
    return this.page.evaluate(
      ([name, text, argument]) => new Function("peer", "argument", `return (${text})(peer, argument)`)(peers[name], argument),
      [this.name, String(action), argument],
    );
  }

  connect(to, options) {
    return this.page.evaluate(([name, to, options]) => connect(name, to, options), [this.name, to, options]);
  }

  call(to) {
    return this.page.evaluate(([name, to]) => call(name, to), [this.name, to]);
  }

  sees() {
    return this.page.evaluate((name) => sees(name), this.name);
  }
}
