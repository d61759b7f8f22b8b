/** Follows the README as a reader does: every block of it runs, in its order, and more than once. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { TIMEOUT, launch, person } from "../e2e/browser.js";
import { cleanUp } from "../e2e/hooks.js";
import { aimed, blocks, root, saved, shell, startByLine } from "./blocks.js";

const [commands, page, curl, peerjs, ...more] = blocks("README.md");
let server, browser;

before(async () => {
  [server, browser] = await Promise.all([startByLine(commands.code.split("\n")[0]), launch({ camera: false, names: false })]);
}, { timeout: 300_000 });
cleanUp(() => browser, { provoked: true });
after(() => server?.stop());

test("it is short, and these tests know all of its blocks", () => {
  assert.deepEqual([commands, page, curl, peerjs, ...more].map(({ language }) => language), ["sh", "html", "sh", "js"]);
  const lines = readFileSync(join(root, "README.md"), "utf8").trimEnd().split("\n").length;
  assert.ok(lines <= 120, `${lines} lines`);
});

test("the second command exists", async () => {
  const [first, second, ...others] = commands.code.trim().split("\n");
  assert.deepEqual([first, second, others], ["go run ./cmd/inbox", "make test", []]);
  await shell(`${second} --dry-run`, { maxBuffer: 1 << 24, env: { ...process.env, MAKEFLAGS: "" } });
});

/** Opens the pasted page, and the link that it shows in another browser. */
async function twoPages(address) {
  const [alice, bob] = await Promise.all([person(browser), person(browser)]);
  await alice.goto(address);
  await bob.goto(await alice.locator("#note a").getAttribute("href").then((href) => new URL(href, address).href));
  return { alice, bob };
}

const connected = (page) => page.waitForSelector("#form:not([hidden])");
const notes = (page, text) => page.waitForFunction((text) => note.textContent.includes(text), text);

async function talk({ alice, bob }) {
  await Promise.all([connected(alice), connected(bob)]);
  for (const [one, other, words] of [[alice, bob, "hello, Bob"], [bob, alice, "hello, Alice"]]) {
    await one.fill("#text", words);
    await one.press("#text", "Enter");
    await other.waitForFunction((line) => lines.lastChild?.textContent === line, `They: ${words}`);
  }
  assert.deepEqual(await alice.locator("#lines p").allTextContents(), ["You: hello, Bob", "They: hello, Alice"]);
}

test("the page connects two browsers, for two readers at once", async () => {
  const address = saved("chat.html", aimed(page.code, server));
  const readers = await Promise.all([twoPages(address), twoPages(address)]);
  await Promise.all(readers.map(talk));
  // The link is still good when the other side has left, or reloads.
  const [{ alice, bob }] = readers;
  await bob.reload();
  await Promise.all([connected(alice), connected(bob)]);
  await bob.close();
  await notes(alice, "The other side ended the call.");
});

test("the page says in a sentence what is wrong", async () => {
  const address = saved("chat.html", aimed(page.code, server));
  const bob = await person(browser);
  await bob.goto(`${address}#nobody-${Date.now()}`);
  await notes(bob, "Nobody is online under this id.");
  const nobody = createServer().listen(0, "127.0.0.1");
  await once(nobody, "listening");
  const { port } = nobody.address();
  nobody.close();
  const alice = await person(browser);
  await alice.goto(saved("alone.html", page.code.replaceAll("http://localhost:3000", `http://localhost:${port}`)));
  await notes(alice, "No server answers at localhost:3000. Start one: go run ./cmd/inbox");
});

test("the requests with curl deliver the message, in any shell, for two readers at once", async () => {
  const shells = ["bash", "sh", "bash"];
  for (const { stdout } of await Promise.all(shells.map((name) => shell(aimed(curl.code, server), { shell: name })))) {
    assert.match(stdout, /^HTTP\/1\.1 200 OK\r$/m);
    assert.match(stdout, /^X-From: alice-[0-9a-f]{16}\r$/mi);
    assert.match(stdout, /hello, Bob$/);
  }
});

test("the lines for PeerJS open a peer that others connect to, more than once", async () => {
  const client = readFileSync(join(import.meta.dirname, "node_modules/peerjs/dist/peerjs.min.js"), "utf8");
  const { hostname, port } = new URL(server.local);
  const code = peerjs.code.replace(`host: "localhost", port: 3000`, `host: "${hostname}", port: ${port}`);
  assert.notEqual(code, peerjs.code);
  const address = saved("peer.html", `<!doctype html><meta charset="utf-8"><script>${client}</script><script>${code}</script>`);
  const [alice, bob] = await Promise.all([person(browser), person(browser)]);
  const says = (page, pattern) => page.waitForEvent("console", { predicate: (line) => pattern.test(line.text()), timeout: TIMEOUT }).then((line) => line.text());
  const [line] = await Promise.all([says(alice, /^I am /), says(bob, /^I am /), alice.goto(address), bob.goto(address)]);
  const heard = says(alice, /hello/);
  await bob.evaluate((id) => {
    const connection = peer.connect(id);
    connection.on("open", () => connection.send("hello, Alice"));
  }, line.slice("I am ".length));
  assert.equal(await heard, "hello, Alice");
});
