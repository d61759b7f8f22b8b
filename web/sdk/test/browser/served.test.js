/** The SDK as the server serves it: to a local file, to pages of another origin, and to the server's own pages. */

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before } from "node:test";
import { pathToFileURL } from "node:url";
import { newContext, openPage, startBrowser, stopBrowser, takeFaults } from "../support/browser.js";
import { startServer, stopServers } from "../support/server.js";
import { test } from "../support/test.js";

let server;
const folder = mkdtempSync(join(tmpdir(), "inbox-sdk-"));

before(async () => {
  [server] = await Promise.all([startServer(), startBrowser()]);
});

afterEach(() => assert.deepEqual(takeFaults(), []));

after(async () => {
  await stopBrowser();
  await stopServers();
  rmSync(folder, { recursive: true });
});

/** Opens a URL in a new browser context and collects its console errors. */
async function visit(url) {
  const context = await newContext();
  const page = await context.newPage();
  page.complaints = [];
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  page.on("console", (message) => {
    // The page has no favicon.
    if (message.type() === "error" && !message.location().url.endsWith("favicon.ico")) page.complaints.push(message.text());
  });
  await page.goto(url);
  return page;
}

test("the first page of the README connects two windows", async () => {
  const readme = readFileSync(join(import.meta.dirname, "../../README.md"), "utf8");
  const [, page] = /```html\n([^]*?)```/.exec(readme);
  const file = join(folder, "page.html");
  writeFileSync(file, page.replaceAll("http://localhost:3000/inbox", server.url));
  const [alice, bob] = await Promise.all([visit(pathToFileURL(file).href), visit(pathToFileURL(file).href)]);
  const id = await bob.locator("#me").textContent();
  assert.match(id, /^[0-9a-z]{26}$/);
  await alice.fill("#peer", ` ${id} `);
  await alice.click("#call");
  for (const [one, other, words] of [[alice, bob, "hello, Bob"], [bob, alice, "hello, Alice"]]) {
    await one.waitForFunction(() => !text.disabled);
    await one.fill("#text", words);
    await one.press("#text", "Enter");
    await other.waitForFunction((line) => log.textContent.includes(line), `they: ${words}\n`);
  }
  assert.equal(await bob.locator("#log").textContent(), `${await alice.locator("#me").textContent()} calls\nthey: hello, Bob\nme: hello, Alice\n`);
  // A call to an unknown id shows an error.
  await alice.fill("#peer", "nobody");
  await alice.click("#call");
  await alice.waitForFunction(() => log.textContent.includes("Nobody is online under this id."));
  assert.deepEqual([...alice.complaints.filter((line) => !/404/.test(line)), ...bob.complaints], []);
  await Promise.all([alice, bob].map((page) => page.context().close()));
});

test("a page of another origin can import the SDK and use the server", async () => {
  const page = await openPage();
  const { heard, names, same } = await page.evaluate(async (url) => {
    const [sdk, messaging, former] = await Promise.all(["inbox", "messaging", "mailbox"].map((name) => import(new URL(`${name}.js`, url).href)));
    const inbox = new sdk.Inbox(url, { id: sdk.randomId(), password: sdk.randomPassword() });
    void new messaging.Inbox(url, { id: "another", password: "secret" }).send(inbox.id, "hello", { wait: 5000 });
    for await (const { text } of inbox.messages()) return { heard: text, names: Object.keys(messaging), same: former.Inbox === messaging.Inbox };
  }, server.url);
  assert.equal(heard, "hello");
  assert.deepEqual(names.sort(), ["Inbox", "InboxError", "randomId", "randomPassword"]);
  assert.equal(same, true, "mailbox.js is messaging.js by its former name");
  await page.context().close();
});

test("the SDK works under the policy of the server's own pages, with each transport", async () => {
  const page = await visit(new URL("/", server.url).href);
  for (const transport of ["socket", "stream", "poll"]) {
    const used = await page.evaluate(async (transport) => {
      const { Inbox, randomId } = await import("/inbox.js");
      const inbox = new Inbox("inbox", { id: randomId(), password: "secret", transports: [transport] });
      const opened = new Promise((resolve) => (inbox.onopen = resolve));
      const ends = new AbortController();
      const next = inbox.messages({ signal: ends.signal }).next();
      const used = await opened;
      ends.abort();
      await next;
      return used;
    }, transport);
    assert.equal(used, transport);
  }
  assert.deepEqual(page.complaints, []);
  await page.context().close();
});

test("a relative URL is resolved against the page's base", async () => {
  const page = await openPage();
  const asked = await page.evaluate(async () => {
    const asked = [];
    globalThis.fetch = async (url) => {
      asked.push(new URL(url).pathname);
      return new Response(null, { headers: { "Cache-Control": "no-store" } });
    };
    const send = (url) => new Inbox(url, { id: "a", password: "b" }).send("b", "x");
    await send("/inbox");
    await send("inbox");
    document.head.append(Object.assign(document.createElement("base"), { href: "/deep/down/" }));
    await send("inbox");
    await send("../inbox");
    return asked;
  });
  assert.deepEqual(asked, ["/inbox", "/inbox", "/deep/down/inbox", "/deep/inbox"]);
  await page.context().close();
});
