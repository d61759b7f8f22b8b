/** Files for everyone in a room. */

import assert from "node:assert/strict";
import { join as joinPath } from "node:path";
import { before, test } from "node:test";
import { assertAccessible } from "./axe.js";
import { assertNoFaults, fillSetup, launch, person, reaches, until } from "./browser.js";
import { MB, arrives, becomes, chooses, digestOf, download, downloadsTo, gate, hasParts, holds, makeFile, press, row, showsText } from "./files.js";
import { archives, drops, makeFolder, packed } from "./folders.js";
import { cleanUp } from "./hooks.js";
import { startServer } from "./server.js";
import { assertSpoken, listen } from "./speech.js";
import { eventually } from "./suite.js";

let browser, server;

before(async () => {
  [server, browser] = await Promise.all([startServer(), launch({ camera: false })]);
});
cleanUp(() => browser);

/** Opens the files page for a person with a name. */
async function visitor(name, { link = `${server.local}files`, scripts = [], ...options } = {}) {
  const page = await person(browser, options);
  await page.addInitScript((name) => localStorage.setItem("inbox:name:/inbox", name), name);
  for (const script of scripts) await page.addInitScript(script);
  await page.goto(link);
  return page;
}

/** Opens a room and returns its first person, and the link. */
async function opensRoom(name, options) {
  const page = await visitor(name, options);
  await reaches(page, "waiting");
  await page.click("#open-room");
  await reaches(page, "room");
  return [page, await page.inputValue("#link")];
}

/** Waits until a page is connected to exactly these people. */
async function sees(page, ...names) {
  const shown = () => page.$$eval("#people li", (lines) => lines.map((line) => `${line.querySelector("bdi").textContent} ${line.dataset.is}`).slice(1).sort());
  const wanted = names.map((name) => `${name} connected`).sort();
  await page.waitForFunction((wanted) => JSON.stringify([...document.querySelectorAll("#people li")].slice(1)
    .map((line) => `${line.querySelector("bdi").textContent} ${line.dataset.is}`).sort()) === JSON.stringify(wanted), wanted)
    .catch(async () => assert.deepEqual(await shown(), wanted));
}

/** Opens a room for several people who are all connected. @param {Record<string, object>} people options of visitors by name */
async function group(people) {
  const [[first, options], ...others] = Object.entries(people);
  const [page, link] = await opensRoom(first, options);
  const pages = [page, ...await Promise.all(others.map(([name, options]) => visitor(name, { link, ...options })))];
  await Promise.all(pages.map((page, i) => sees(page, ...Object.keys(people).filter((_, n) => n !== i))));
  return [...pages, link];
}

/** Returns how far each person is, as the sender's row shows it on request. */
async function recipients(page, file) {
  const details = row(page, file).locator("details");
  if (!(await details.evaluate((details) => details.open))) await details.locator("summary").click();
  return Object.fromEntries(await details.locator("li").evaluateAll((lines) => lines.map((line) => [line.querySelector("bdi").textContent, line.querySelector("span").textContent])));
}

test("two files and a folder reach everyone who accepts them, and one person's refusal stops nobody", async () => {
  const [alice, bob, carol] = await group({ Alice: { scripts: [listen] }, Bob: { scripts: [listen] }, Carol: {} });
  const files = [makeFile("plan.bin", 5 * MB), makeFile("photo.bin", 1000)];
  const tree = { "read me.txt": "first", "2024/a.txt": "a", "empty": null };
  const folder = makeFolder("Holiday", tree);
  await drops(alice, folder, ...files);
  const saved = [];
  for (const page of [bob, carol]) {
    saved.push(await downloadsTo(page));
    for (const file of [...files, folder]) {
      await becomes(page, file, "offered");
      assert.match(await row(page, file).locator(".what").innerText(), /from \u2068Alice\u2069/);
    }
  }
  assert.equal(await alice.locator(".transfer").count(), 3, "one row for each file and folder");
  await showsText(alice, files[1], /^0 of 2 received it · nobody has answered yet$/);
  await press(carol, files[1], "Decline");
  await showsText(alice, files[1], "0 of 2 received it · 1 has not answered yet · 1 declined");
  await Promise.all([bob, carol].map((page) => page.click("#accept-all")));
  for (const file of [...files, folder]) await becomes(alice, file, "done");
  await showsText(alice, files[0], /^2 of 2 received it · still offered to anyone who enters$/);
  await showsText(alice, files[1], "1 of 2 received it · 1 declined");
  await showsText(alice, folder, "2 of 2 received it");
  assert.deepEqual(await recipients(alice, files[1]), { Bob: "Received and checked.", Carol: "Declined it." });
  // The browser may still be saving what the page has passed on to it.
  const isSaved = (to, file) => eventually(async () => assert.equal(await digestOf(joinPath(to, file.name)), file.digest));
  for (const to of saved) {
    await archives(joinPath(to, "Holiday.zip"), packed("Holiday", { "read me.txt": "first", "2024/a.txt": "a", "empty": null }));
    await isSaved(to, files[0]);
  }
  await isSaved(saved[0], files[1]);
  await assertSpoken(alice, /Bob entered the room/, /Carol entered the room/, /plan\.bin: 2 of 2 received it/, /photo\.bin: 1 of 2/);
  await assertSpoken(bob, /Alice entered the room/);

  // The others can answer in the room.
  const answer = makeFile("answer.txt", 10);
  await chooses(bob, answer);
  const arriving = download(alice);
  await press(alice, answer, "Receive");
  await arrives(alice, answer, arriving);
  await press(carol, answer, "Decline");
  await showsText(bob, answer, "1 of 2 received it · 1 declined");
});

test("one person leaves midway and comes back, one enters later, and the sender leaves", async () => {
  const [alice, bob, carol, link] = await group({ Alice: { scripts: [gate] }, Bob: {}, Carol: {} });
  const file = makeFile("long.bin", 3 * 4 * 2 ** 20 - 1);
  await alice.evaluate(() => window.allow(2));
  await chooses(alice, file);
  await Promise.all([bob, carol].map((page) => press(page, file, "Receive")));
  await Promise.all([bob, carol].map((page) => hasParts(page, 1)));
  await bob.click("#leave");
  await reaches(bob, "outside");
  await showsText(bob, file, "You left the room. You can receive it if you enter again.");
  await showsText(alice, file, "0 of 2 received it · 1 left");
  await sees(alice, "Carol");

  // A person who enters later is also asked.
  const dave = await visitor("Dave", { link });
  await becomes(dave, file, "offered");
  await sees(alice, "Carol", "Dave");
  const arriving = [download(carol), download(dave)];
  await alice.evaluate(() => window.allow(1000));
  await press(dave, file, "Receive");
  await Promise.all([arrives(carol, file, arriving[0]), arrives(dave, file, arriving[1])]);
  await becomes(alice, file, "done");
  assert.deepEqual(await recipients(alice, file), { Bob: "Left before it arrived. It continues if they come back.", Carol: "Received and checked.", Dave: "Received and checked." });

  const late = download(bob);
  await bob.click("#again");
  await arrives(bob, file, late);
  await showsText(alice, file, "3 of 3 received it");

  // Receivers learn that the sender has left.
  const next = makeFile("next.bin", 10);
  await chooses(alice, next);
  await becomes(bob, next, "offered");
  await alice.goto(server.local);
  await showsText(bob, next, "\u2068Alice\u2069 left. You can receive it if they come back.");
  await sees(bob, "Carol", "Dave");
  assert.equal(await row(bob, next).getByRole("button", { name: "Receive: " }).count(), 0);
});

test("files chosen alone, or before the room was opened, are offered to those who enter, and survive a reload", async () => {
  const alice = await visitor("Alice");
  await reaches(alice, "waiting");
  const [first, second] = [makeFile("first.bin", 5 * MB), makeFile("second.txt", 10)];
  await chooses(alice, first);
  await alice.click("#open-room");
  await showsText(alice, first, "Everyone who enters is asked");
  await chooses(alice, second);
  const bob = await visitor("Bob", { link: await alice.inputValue("#link") });
  for (const file of [first, second]) await becomes(bob, file, "offered");
  const got = download(bob);
  await press(bob, second, "Receive");
  await arrives(bob, second, got);

  await Promise.all([alice.reload(), bob.reload()]);
  await Promise.all([sees(alice, "Bob"), sees(bob, "Alice")]);
  await becomes(alice, first, "unreadable");
  await becomes(alice, second, "done");
  await chooses(alice, first, second);
  const arriving = download(bob);
  await press(bob, first, "Receive");
  await arrives(bob, first, arriving);
  await becomes(alice, first, "done");
});

test("files for one person reach nobody else, even after that person has left", async () => {
  const [alice, bob, carol] = await group({ Alice: {}, Bob: {}, Carol: {} });
  const [secret, other] = [makeFile("secret.txt", 10), makeFile("other.txt", 10)];
  await alice.selectOption("#to", { label: "\u2068Bob\u2069" });
  await chooses(alice, secret);
  await showsText(alice, secret, "For \u2068Bob\u2069 only. Has not answered yet.");
  const arriving = download(bob);
  await press(bob, secret, "Receive");
  await arrives(bob, secret, arriving);
  await showsText(alice, secret, "For \u2068Bob\u2069 only. Received and checked.");
  await bob.click("#leave");
  await sees(alice, "Carol");
  // The choice does not silently become everyone.
  assert.equal(await alice.$eval("#to", (select) => select.selectedOptions[0].text), "\u2068Bob\u2069 (left)");
  await chooses(alice, other);
  await alice.selectOption("#to", "");
  const open = makeFile("open.txt", 10);
  await chooses(alice, open);
  await becomes(carol, open, "offered");
  assert.deepEqual(await carol.locator(".transfer .what bdi").allInnerTexts(), ["open.txt"]);
});

test("a duplicated tab asks before it takes the place of the other", async () => {
  const [alice, bob] = await group({ Alice: {}, Bob: {} });
  const [copy] = await Promise.all([alice.context().waitForEvent("page"), alice.evaluate(() => void window.open(location.href))]);
  await reaches(copy, "elsewhere");
  await sees(bob, "Alice");
  await copy.click("#move-here");
  await Promise.all([sees(copy, "Bob"), sees(bob, "Alice"), reaches(alice, "stopped")]);
  const file = makeFile("moved.txt", 10);
  await chooses(copy, file);
  await becomes(bob, file, "offered");
});

test("a code leads into the room", async () => {
  const [alice, link] = await opensRoom("Alice");
  // The page hides codes at an address that works on this computer only.
  await alice.evaluate(() => document.querySelector(".offer").removeAttribute("hidden"));
  await alice.click("#get-code");
  const code = await alice.innerText("#code-shown strong");
  const bob = await visitor("Bob");
  await reaches(bob, "waiting");
  await bob.fill("#code", code);
  await bob.press("#code", "Enter");
  await Promise.all([sees(alice, "Bob"), sees(bob, "Alice")]);
  assert.equal(bob.url(), link);
  assert.equal(await alice.textContent("#code-shown"), "", "a used code is not shown");
});

test("a person who entered on the call page is shown as such", async () => {
  const [alice, link] = await opensRoom("Alice");
  const bob = await visitor("Bob", { link: link.replace("/files#", "/call#") });
  await fillSetup(bob, { name: "Bob", wish: "none" });
  await alice.locator("#people li", { hasText: "Bob (on the call page)" }).waitFor();
  const file = makeFile("lost.txt", 10);
  await chooses(alice, file);
  await showsText(alice, file, "0 of 1 received it");
  assert.deepEqual(await recipients(alice, file), { Bob: "Is on the call page, which takes no files." });
});

test("names from others neither deceive nor break the page", async () => {
  const evil = "\u202eAlice\u202c <img src=x onerror=alert(1)>";
  const [alice, bob, mallory] = await group({ "Alice": { viewport: { width: 320, height: 640 } }, "דנה": {} }).then(async ([alice, dana, link]) => [alice, dana, await visitor(evil, { link })]);
  await sees(alice, "דנה", "Alice <img src=x onerror=alert(1)>");
  assert.equal(await alice.locator("#people img").count(), 0);
  // Nobody can take the name of another person.
  await mallory.fill("#name", "ALICE");
  await mallory.press("#name", "Tab");
  await until(alice, async () => /^ALICE \(\w+ \w+\)$/.test(document.querySelectorAll("#people li bdi")[2].textContent));
  await mallory.fill("#name", "w".repeat(40));
  await mallory.press("#name", "Tab");
  await sees(bob, "Alice", "w".repeat(40));
  await chooses(bob, makeFile("דוח שנתי.pdf", 10));
  await chooses(mallory, makeFile(`${"x".repeat(80)}.bin`, 10));
  await alice.waitForFunction(() => document.querySelectorAll("#incoming-list .transfer").length === 2);
  assert.ok(await alice.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "the page is wider than the window");
  await assertAccessible(alice, "a room with hostile names");
});

test("a room can be opened once the server answers, and files still arrive while it is away", async () => {
  const own = await startServer();
  const alice = await visitor("Alice", { link: `${own.local}files` });
  await reaches(alice, "waiting");
  await own.kill();
  await alice.click("#open-room");
  await alice.waitForSelector("[data-problem='unreachable']");
  const again = await startServer([], { port: own.port });
  await alice.click("[data-problem='unreachable'] button");
  await reaches(alice, "room");
  const bob = await visitor("Bob", { link: await alice.inputValue("#link") });
  await Promise.all([sees(alice, "Bob"), sees(bob, "Alice")]);
  await again.kill();
  await alice.waitForSelector("[data-problem='server-away']");
  const file = makeFile("away.bin", 10);
  await chooses(alice, file);
  const arriving = download(bob);
  await press(bob, file, "Receive");
  await arrives(bob, file, arriving);
  await Promise.all([alice, bob].map((page) => page.context().close())); // they keep trying to reach the server
  assertNoFaults({ provoked: true, expected: /ERR_/ });
});

test("a full room says so, and lets the next person in after someone left", async () => {
  const [alice, link] = await opensRoom("Alice");
  // Members without a page fill the room.
  const join = (method, n, room) => fetch(`${server.url}inbox?room=${room}`, { method, headers: { Authorization: `Basic ${btoa(`extra${n}:secret`)}` } });
  const room = new URLSearchParams(new URL(link).hash.slice(1)).get("room");
  for (let n = 1; n < 10; n++) assert.equal((await join("PUT", n, room)).status, 200);
  const bob = await visitor("Bob", { link });
  await reaches(bob, "full");
  assert.match(await bob.innerText("#meet-text"), /At most 10 people/);
  assert.equal(await bob.isVisible("#drop"), false);
  assert.equal((await join("DELETE", 9, room)).status, 204);
  await bob.click("#again");
  await reaches(bob, "room");
  await until(alice, async () => [...document.querySelectorAll("#people bdi")].some((name) => name.textContent === "Bob"));
});
