/** A browser with the clients in it, and the servers that they use. */

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { randomBytes } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createSocket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { build } from "esbuild";
import { chromium } from "playwright-core";
import { chromiumOptions } from "../e2e/chromium.js";
import { folder, startServer, stopServers } from "../e2e/server.js";

const here = import.meta.dirname;
let browser;
let pages;

export async function startBrowser() {
  const { outputFiles: [bundle] } = await build({
    entryPoints: [join(here, "page.js")], bundle: true, write: false, format: "iife", define: { global: "window" },
  });
  pages = createServer((request, response) => {
    const script = request.url === "/page.js";
    response.setHeader("Content-Type", script ? "text/javascript" : "text/html");
    response.end(script ? bundle.text : '<!doctype html><meta charset="utf-8"><title>Topics</title><link rel="icon" href="data:,"><script src="/page.js"></script>');
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

/** Opens a page with separate storage, so that pages reach each other only over the network. */
export async function openPage() {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(`http://localhost:${pages.address().port}/`);
  return page;
}

export const closePages = () => Promise.all(browser.contexts().map((context) => context.close()));

/** Waits until a function of the page returns a value. */
export async function until(page, name, want, timeout) {
  const last = async () => `${name}() is ${JSON.stringify(await page.evaluate((n) => window[n](), name))}, want ${JSON.stringify(want)}`;
  await page.waitForFunction(([n, w]) => window[n]() === w, [name, want], { timeout, polling: 50 }).catch(async (error) => {
    throw new Error(`${error.message}: ${await last()}`);
  });
}

async function freePort() {
  const socket = createSocket().listen(0, "127.0.0.1");
  await once(socket, "listening");
  const { port } = socket.address();
  socket.close();
  await once(socket, "close");
  return port;
}

async function eventually(attempt) {
  for (const deadline = Date.now() + 20_000; ; await sleep(50)) {
    try {
      return await attempt();
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
  }
}

/** Starts a program that ends with the tests. */
function run(command, args, options) {
  const child = spawn(command, args, { stdio: ["ignore", "ignore", "inherit"], ...options });
  children.add(child);
  child.once("exit", () => children.delete(child));
  return child;
}

/** Debian's redis-tools has the server under another name. */
function redisServer() {
  for (const name of ["redis-server", "valkey-server", "redis-check-rdb"]) {
    for (const path of process.env.PATH.split(":")) {
      if (existsSync(join(path, name))) return join(path, name);
    }
  }
  throw new Error("redis-server is not installed, and this test needs it: apt-get install redis-tools");
}

const inbox = (...flags) => {
  const start = async (port) => {
    const server = await startServer(flags, { port });
    return { port: server.port, url: `ws://127.0.0.1:${server.port}/yjs`, trystero: `ws://127.0.0.1:${server.port}/trystero`, kill: server.kill, restart: () => start(server.port) };
  };
  return start(0);
};

/** The servers that the tests run against: each function returns one or two. */
export const targets = {
  "inbox": async () => [await inbox()],
  "two inboxes, one Redis": async () => {
    const port = await freePort();
    run(redisServer(), ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"], { argv0: "redis-server" });
    await eventually(() => execFileSync("redis-cli", ["-p", String(port), "ping"], { stdio: "ignore" }));
    const pepper = join(folder(), "pepper");
    writeFileSync(pepper, randomBytes(32), { mode: 0o600 });
    const shared = ["--store", `redis://127.0.0.1:${port}`, "--pepper-file", pepper];
    return [await inbox(...shared), await inbox(...shared)];
  },
  "y-webrtc's server": async () => {
    const start = async (port) => {
      const child = run(process.execPath, [join(here, "node_modules/y-webrtc/bin/server.js")], { env: { ...process.env, PORT: String(port) } });
      await eventually(async () => {
        if (!(await fetch(`http://127.0.0.1:${port}/`)).ok) throw new Error("not ready");
      });
      const kill = async () => {
        const exited = once(child, "exit");
        child.kill("SIGKILL");
        await exited;
      };
      return { port, url: `ws://127.0.0.1:${port}`, kill, restart: () => start(port) };
    };
    return [await start(await freePort())];
  },
};
