/** Follows the guide to rooms as a reader does: the page and the requests run as they are. */

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { launch, person } from "../e2e/browser.js";
import { cleanUp } from "../e2e/hooks.js";
import { startServer } from "../e2e/server.js";
import { aimed, blocks, saved, shell } from "./blocks.js";

const [page, create, redeem, curl, answer, secret, ...more] = blocks("docs/rooms.md");
let server, browser;

before(async () => {
  const [{ url }, launched] = await Promise.all([startServer(), launch({ names: false })]);
  server = { local: url.replace("127.0.0.1", "localhost") };
  browser = launched;
}, { timeout: 300_000 });
cleanUp(() => browser, { provoked: true });

test("these tests know all of its blocks", () => {
  assert.deepEqual([page, create, redeem, curl, answer, secret, ...more].map(({ language }) => language), ["html", "js", "js", "sh", "json", "js"]);
});

/** Waits until a page shows this many other people, and their moving pictures. */
const shows = (one, others) => one.waitForFunction((others) => {
  const captions = [...document.querySelectorAll("figcaption")].map(({ textContent }) => textContent);
  const videos = [...document.querySelectorAll("video")];
  return captions.filter((caption) => caption === "Connected").length === others && videos.length === others + 1 &&
    videos.every((video) => video.videoWidth > 0 && video.currentTime > 0);
}, others);

test("the page connects everyone who opens its link, and shows who leaves", async () => {
  const address = saved("room.html", aimed(page.code, server));
  const ann = await person(browser);
  await ann.goto(address);
  await ann.waitForFunction(() => link.textContent.includes("#"));
  const [bob, cid] = await Promise.all([person(browser), person(browser)]);
  const href = await ann.locator("#link").getAttribute("href");
  await Promise.all([bob.goto(href), cid.goto(href)]);
  await Promise.all([ann, bob, cid].map((one) => shows(one, 2)));
  await cid.click("#leave");
  await cid.waitForFunction(() => note.textContent === "You left the call.");
  await Promise.all([ann, bob].map((one) => shows(one, 1)));
  await bob.reload();
  await Promise.all([ann, bob].map((one) => shows(one, 1)));
  await bob.close();
  await shows(ann, 0);
});

test("a code leads another page into the room", async () => {
  const pages = await Promise.all([person(browser), person(browser)]);
  for (const one of pages) {
    await one.goto(server.local);
    await one.evaluate(async () => {
      for (const name of ["inbox", "rooms", "codes"]) Object.assign(globalThis, await import(`/${name}.js`));
      globalThis.inbox = new Inbox("inbox", { id: randomId(), password: randomPassword() });
    });
  }
  /** Runs a block in a page, and returns the value of an expression after it. */
  const run = (one, block, result) => one.evaluate(`(async () => {${block}\n return ${result}; })()`);
  const code = await run(pages[0], `const room = globalThis.joined = await join(inbox, "a room", { secret: "a secret", connect: false });\n${create.code}`, "code");
  await run(pages[1], redeem.code.replace("kxt rbm", code.toLowerCase()), "0");
  await pages[0].waitForFunction(() => joined.members.length === 2);
});

test("the requests show who is there and who joins", async () => {
  const { stdout } = await shell(aimed(curl.code, server));
  assert.match(stdout, /^\{"members":\["alice-\d+"\]\}\{"members":\["alice-\d+","bob-\d+"\]\}/);
  assert.match(stdout, /"room":\{"name":"room-\d+","event":"joined","peer":"bob-\d+"\}/);
});
