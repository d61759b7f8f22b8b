/** Runs every block of docs/frontend.md, with the real React and the real Vue. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, person, until } from "../e2e/browser.js";
import { cleanUp } from "../e2e/hooks.js";
import { startServer } from "../e2e/server.js";
import { aimed, blocks } from "./blocks.js";
import { bundle } from "./bundle.js";
import { pageWith, servePages } from "./pages.js";

const all = blocks("docs/frontend.md");
let server, browser, pages;
/** The files that `pages` serves. Tests add to them. */
const files = {};
const named = (name, of = server) => aimed(all.find((block) => block.name === name).code, of);
const unnamed = all.filter(({ language, name }) => language === "js" && name === "").map(({ code }) => code);

before(async () => {
  [server, browser, pages] = await Promise.all([startServer(), launch({ names: false }), servePages(files)]);
}, { timeout: 120_000 });
cleanUp(() => browser, { provoked: true });
after(() => pages?.close());

test("these tests know all of its blocks", () => {
  assert.deepEqual(all.map(({ language, name }) => `${language} ${name}`.trim()), [
    "sh", "html call.html", "js data.js", "js files.js", "js", "js room.js", "js", "sh",
    "js call.js", "jsx Chat.jsx", "jsx main.jsx", "vue Chat.vue", "js main.js",
  ]);
});

/** Two people, of whom the second opens the link of the first. */
async function two(path, selector) {
  const [alice, bob] = await Promise.all([person(browser), person(browser)]);
  await alice.goto(pages.url + path);
  await bob.goto(new URL(await alice.locator(selector).getAttribute("href"), pages.url + path).href);
  return [alice, bob];
}

test("the page for calls shows and plays the other side, and hangs up", async () => {
  files["call.html"] = named("call.html");
  const [alice, bob] = await two("call.html", "#note a");
  for (const page of [alice, bob]) await page.waitForFunction(() => theirs.videoWidth > 0 && theirs.currentTime > 0 && theirs.srcObject.getAudioTracks().length === 1);
  await bob.click("#hangup");
  await bob.waitForFunction(() => note.textContent === "This side closed the call.");
  await alice.waitForFunction(() => note.textContent === "The other side ended the call.");
  await bob.reload();
  await bob.waitForFunction(() => theirs.currentTime > 0);
});

test("the page for calls says so when it gets no camera", async () => {
  files["call.html"] = named("call.html");
  const alice = await person(browser);
  await alice.addInitScript(() => (navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("Permission denied", "NotAllowedError"))));
  await alice.goto(`${pages.url}call.html`);
  await alice.waitForFunction(() => note.textContent === "Permission denied");
});

test("two people who open one link connect, and send data and files, in either order of coming", async () => {
  files["room.js"] = named("room.js");
  files["files.js"] = named("files.js");
  files["room.html"] = pageWith(`
    import { join } from "./room.js";
    import { receiveFile, sendFile } from "./files.js";
    import { randomId } from "${server.local}inbox.js";
    globalThis.sendFile = sendFile;
    const save = (file) => (globalThis.file = file);
    ${named("data.js").replace("console.log(", "globalThis.position = (")}
    ${unnamed[1].replace("const pc", "globalThis.pc").replace("{ setup }", `{ setup: (pc) => {
      setup(pc);
      ${unnamed[0].replace(/^/gm, "      ")}
    } }`)}
  `);
  const [alice, bob] = await Promise.all([person(browser), person(browser)]);
  await alice.goto(`${pages.url}room.html`);
  await alice.waitForFunction(() => location.hash);
  await bob.goto(alice.url());
  for (const page of [alice, bob]) await page.waitForFunction(() => globalThis.position?.y === 2);
  const size = 5_000_000;
  for (const length of [size, 0]) {
    await bob.evaluate((length) => sendFile(pc, new File([new Uint8Array(length).fill(7)], "seven.bin")), length);
    await until(alice, async (length) => globalThis.file?.size === length && file.name === "seven.bin" && new Uint8Array(await file.arrayBuffer()).every((byte) => byte === 7), length);
  }
  // The room is free as soon as its owner leaves: then the other one owns it.
  await alice.close();
  await bob.waitForFunction(() => pc.connectionState === "closed");
  await bob.reload();
  const carol = await person(browser);
  await carol.goto(bob.url());
  await carol.waitForFunction(() => globalThis.position?.y === 2);
});

test("a file that is interrupted fails on both sides", async () => {
  const [alice, bob] = await Promise.all([person(browser), person(browser)]);
  await alice.goto(`${pages.url}room.html`);
  await alice.waitForFunction(() => location.hash);
  await bob.goto(alice.url());
  for (const page of [alice, bob]) await page.waitForFunction(() => globalThis.pc);
  const failed = bob.evaluate(async () => {
    const { receiveFile } = await import("./files.js");
    return new Promise((resolve) => (pc.ondatachannel = ({ channel }) => receiveFile(channel).catch(({ message }) => resolve(message))));
  });
  const message = await alice.evaluate(() => {
    const sending = sendFile(pc, new File([new Uint8Array(50_000_000)], "large.bin")).catch(({ message }) => message);
    setTimeout(() => pc.close(), 300);
    return sending;
  });
  assert.equal(message, "The connection ended before large.bin arrived.");
  assert.equal(await failed, message);
});

/** A server that reports how many inboxes it has. */
async function startCounted() {
  const counted = await startServer(["--metrics-listen", "127.0.0.1:0"]);
  const told = () => /at=(http:\S+)/.exec(counted.log())?.[1];
  while (!told()) await new Promise((resolve) => setTimeout(resolve, 10)); // it may be logged after the line that startServer waits for
  const inboxes = async () => Number(/^inbox_inboxes (\d+)$/m.exec(await (await fetch(`${told()}metrics`)).text())[1]);
  /** Waits until there are this many. */
  const has = async (count) => {
    for (const deadline = Date.now() + 20_000; (await inboxes()) !== count; await new Promise((resolve) => setTimeout(resolve, 50))) {
      assert.ok(Date.now() < deadline, `${await inboxes()} inboxes, want ${count}`);
    }
  };
  return { ...counted, has };
}

for (const [name, sources, entry, unmount] of [
  ["React in StrictMode", ["call.js", "Chat.jsx", "main.jsx"], "main.jsx", [/createRoot\((.*)\)\.render/, "(globalThis.app = createRoot($1)).render"]],
  ["Vue", ["call.js", "Chat.vue", "main.js"], "main.js", [/^createApp/m, "globalThis.app = createApp"]],
]) {
  test(`${name}: the component connects two pages, and leaves nothing behind`, async () => {
    const counted = await startCounted();
    const code = Object.fromEntries(sources.map((file) => [file, named(file, counted)]));
    code[entry] = code[entry].replace(...unmount).replace(/(\.mount\(.*\);)$/m, ";app$1");
    files["app.html"] = pageWith(await bundle(entry, code, entry), '<div id="root"></div>');
    const [alice, bob] = await two("app.html", "a");
    for (const page of [alice, bob]) await page.waitForSelector("form");
    assert.equal(await alice.innerText("[role=status]"), "You are connected.");
    for (const [one, other, words] of [[alice, bob, "hello, Bob"], [bob, alice, "hello, Alice"]]) {
      await one.fill("input", words);
      await one.press("input", "Enter");
      await other.waitForFunction((line) => document.body.innerText.includes(line), `They: ${words}`);
    }
    await counted.has(2); // what StrictMode mounted first is gone
    assert.deepEqual(await Promise.all([alice, bob].map((page) => page.evaluate(() => window.connections.filter(({ connectionState }) => connectionState !== "closed").length))), [1, 1]);
    await bob.evaluate(() => app.unmount());
    await alice.waitForFunction(() => document.querySelector("[role=status]").innerText === "The other side ended the call.");
    await alice.evaluate(() => app.unmount());
    for (const page of [alice, bob]) await page.waitForFunction(() => window.connections.every(({ connectionState }) => connectionState === "closed"));
    await counted.has(0);
  });
}

test("a component that calls an absent peer shows a sentence", async () => {
  const bob = await person(browser);
  files["app.html"] = pageWith(await bundle("nobody", { "call.js": named("call.js"), "Chat.vue": named("Chat.vue"), "main.js": named("main.js") }, "main.js"), '<div id="root"></div>');
  await bob.goto(`${pages.url}app.html#nobody-${Date.now()}`);
  await bob.waitForFunction(() => document.querySelector("[role=status]")?.innerText === "Nobody is online under this id.");
});
