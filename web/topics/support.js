/** A browser with the clients in it, and the servers that they use. */

import { once } from "node:events";
import { join } from "node:path";
import { build } from "esbuild";
import * as suite from "../e2e/suite.js";
import { eventually, freePort, html, sharedStore } from "../e2e/suite.js";
import { run, startServer } from "../e2e/server.js";

export { closePages, openPage, stopAll } from "../e2e/suite.js";

const here = import.meta.dirname;

/** Starts a browser whose pages run a script, which may import modules. @param {string} script @param {...string} modules */
export async function startBrowser(script, ...modules) {
  const files = { "/": ["text/html", html("Topics", `/${script}`)] };
  for (const name of [script, ...modules]) {
    const { outputFiles: [{ text }] } = await build({
      entryPoints: [join(here, name)], bundle: true, write: false, format: name === script ? "iife" : "esm",
      define: { global: "window", "process.browser": "true" },
    });
    files[`/${name}`] = ["text/javascript", text];
  }
  await suite.startBrowser(files);
}

/** Waits until a function of the page returns a value. */
export async function until(page, name, want, timeout) {
  const last = async () => `${name}() is ${JSON.stringify(await page.evaluate((n) => window[n](), name))}, want ${JSON.stringify(want)}`;
  await page.waitForFunction(([n, w]) => window[n]() === w, [name, want], { timeout, polling: 50 }).catch(async (error) => {
    throw new Error(`${error.message}: ${await last()}`);
  });
}

const inbox = (...flags) => {
  const start = async (port) => {
    const server = await startServer(["--tracker", ...flags], { port });
    const base = `ws://127.0.0.1:${server.port}`;
    return { port: server.port, url: `${base}/yjs`, trystero: `${base}/trystero`, tracker: `${base}/announce`, kill: server.kill, restart: () => start(server.port) };
  };
  return start(0);
};

const inboxes = {
  "inbox": async () => [await inbox()],
  "two inboxes, one Redis": async () => {
    const shared = await sharedStore();
    return [await inbox(...shared), await inbox(...shared)];
  },
};

/** The servers that the tests of y-webrtc and Trystero run against: each function returns one or two. */
export const targets = {
  ...inboxes,
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

/** The servers that the tests of trackers run against. */
export const trackers = {
  ...inboxes,
  "bittorrent-tracker's server": async () => {
    const port = await freePort();
    run(process.execPath, [join(here, "tracker-server.mjs"), String(port)]);
    await eventually(() => fetch(`http://127.0.0.1:${port}/`));
    return [{ tracker: `ws://127.0.0.1:${port}` }];
  },
};
