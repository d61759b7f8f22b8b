/** Browsers with the PeerJS client in them, and the servers that they talk to. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as suite from "../e2e/suite.js";
import { eventually, freePort, html, openPage, sharedStore } from "../e2e/suite.js";
import { run, startServer } from "../e2e/server.js";

export { stopAll } from "../e2e/suite.js";

const here = import.meta.dirname;

export const startBrowser = () => suite.startBrowser({
  "/": ["text/html", html("PeerJS", "/peerjs.min.js", "/page.js")],
  "/page.js": ["text/javascript", readFileSync(join(here, "page.js"))],
  // The client as published.
  "/peerjs.min.js": ["text/javascript", readFileSync(join(here, "node_modules/peerjs/dist/peerjs.min.js"))],
});

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
      const shared = await sharedStore();
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
    const page = await openPage();
    this.#contexts.push(page.context());
    page.context().setDefaultTimeout(this.patience);
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
    this.page.once("websocket", (socket) => (this.socket = socket));
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

  /** Resolves when the Peer sends a message of this type to its server. */
  sends(type) {
    return this.socket.waitForEvent("framesent", ({ payload }) => JSON.parse(payload).type === type);
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
