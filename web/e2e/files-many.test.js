/** Many files and folders arrive on the disk, and the page stays usable. */

import assert from "node:assert/strict";
import { readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import { archives, drops, makeFolder, packed } from "./folders.js";
import { cleanUp } from "./hooks.js";
import { startServer } from "./server.js";
import { assertNoFaults, launch, until } from "./browser.js";
import { MB, areConnected, becomes, chooses, choosesNamed, downloadsTo, gate, hasParts, holds, makeFile, pair, press, row, showsText } from "./files.js";

let browser, server;

before(async () => {
  [server, browser] = await Promise.all([startServer(), launch({ camera: false })]);
});
cleanUp(() => browser);

/** Creates many small files. @param {string} prefix @param {number} count */
const many = (prefix, count) => Array.from({ length: count }, (_, i) => makeFile(`${prefix} ${i + 1}.txt`, 1000 + i));
const sizes = (files) => Object.fromEntries(files.map(({ name, size }) => [name, size]));
/** Waits until a number of rows are in a state. */
async function reach(page, state, count) {
  await page.waitForFunction(([state, count]) => document.querySelectorAll(`.transfer[data-state="${state}"]`).length === count, [state, count], { timeout: 20_000 + 500 * count });
}

/** Number of files that one test sends. A thousand take four minutes. */
const MANY = Number(process.env.INBOX_MANY ?? 60);

test(`${MANY} files received together are all on the disk, and again after Save all again`, async () => {
  const [alice, bob] = await pair(browser, server);
  const folder = await downloadsTo(bob);
  const files = many("small", MANY);
  await chooses(alice, ...files);
  await reach(bob, "offered", MANY);
  await bob.click("#accept-all");
  await holds(folder, sizes(files), 1000 * MANY);
  await bob.locator("#total").waitFor({ state: "hidden" });
  for (const { path, name } of files) assert.deepEqual(readFileSync(join(folder, name)), readFileSync(path));
  await reach(alice, "done", MANY);
  const words = await bob.locator(".transfer .now").allInnerTexts();
  assert.deepEqual([...new Set(words)], ["Received and checked. Look in your downloads."]);

  for (const { name } of files) rmSync(join(folder, name));
  await bob.click("#save-all");
  await holds(folder, sizes(files), 1000 * MANY);
});

/** Reports whether an element is completely visible without scrolling. @param {import("playwright-core").Locator} locator */
async function isInView(locator) {
  const { y, height } = await locator.boundingBox();
  return y >= 0 && y + height <= locator.page().viewportSize().height;
}

test("on a phone with 60 finished files, a running transfer and a new offer are visible, and the others fold", async () => {
  const [alice, bob] = await pair(browser, server, { sender: gate });
  for (const page of [alice, bob]) await page.setViewportSize({ width: 390, height: 844 });
  await chooses(alice, ...many("finished", 60));
  await reach(bob, "offered", 60);
  await bob.click("#accept-archive");
  await Promise.all([reach(alice, "done", 60), reach(bob, "done", 60)]);
  const [large, next] = [makeFile("large.bin", 13 * MB), makeFile("next.txt", 100)];
  await alice.evaluate(() => window.allow(window.reads + 1));
  await chooses(alice, large);
  await press(bob, large, "Receive");
  await showsText(bob, large, /^\d+ % of 13 MB/);
  await chooses(alice, next);
  await becomes(bob, next, "offered");
  await bob.locator("#total-text", { hasText: /^Receiving: 0 of 1 file · 4\.\d MB of 13 MB/ }).waitFor();
  await alice.locator("#total-text", { hasText: /^Sending: 0 of 1 file · / }).waitFor();
  for (const page of [alice, bob]) {
    await page.evaluate(() => scrollTo(0, 0));
    assert.ok(await isInView(page.locator("#total")), "the total progress is out of sight");
    assert.ok(await isInView(row(page, large)), "the running transfer is out of sight");
    assert.ok(await page.evaluate(() => document.documentElement.scrollHeight) < 2500, "the page is too tall");
  }
  assert.ok(await isInView(row(bob, next).getByRole("button", { name: "Receive: " })), "the offer is out of sight");
  // Running transfers come before offers.
  assert.deepEqual(await bob.locator("#incoming .transfer bdi").allInnerTexts(), ["large.bin", "next.txt"]);

  for (const page of [alice, bob]) {
    assert.ok((await page.locator("#finished-list").boundingBox()).height < 300, "the finished rows do not fold");
    await page.click("#unfold");
    assert.ok((await page.locator("#finished-list").boundingBox()).height > 400);
    await page.click("#clear-finished");
    await page.waitForSelector("#finished", { state: "hidden" });
    await becomes(page, large, "going");
  }
  await alice.evaluate(() => window.allow(1000));
  await press(bob, next, "Receive");
  await Promise.all([alice, bob].map((page) => reach(page, "done", 2)));
});

test("40 files are all saved again when 40 buttons are clicked at the same time", async () => {
  const [alice, bob] = await pair(browser, server);
  const files = many("pressed", 40);
  await chooses(alice, ...files);
  await reach(bob, "offered", 40);
  await bob.click("#accept-archive");
  await reach(bob, "done", 40);
  await bob.locator("#total").waitFor({ state: "hidden" });
  const folder = await downloadsTo(bob);
  await bob.evaluate(() => document.querySelectorAll("#finished button[aria-label^='Save again']").forEach((button) => button.click()));
  await holds(folder, sizes(files));
});

test("files of the same name do not overwrite each other, even after a reload", async () => {
  const [alice, bob] = await pair(browser, server);
  const folder = await downloadsTo(bob);
  await choosesNamed(alice, ["same.txt", "Same.txt", "same.txt"]);
  await reach(bob, "offered", 3);
  await bob.click("#accept-all");
  const three = { "same.txt": 1, "Same (2).txt": 1, "same (3).txt": 1 };
  await holds(folder, three);
  await bob.reload();
  await areConnected(alice, bob);
  await choosesNamed(alice, ["same.txt"]);
  await press(bob, { name: "same.txt" }, "Receive");
  await holds(folder, { ...three, "same (4).txt": 1 });
});

const hex = ({ path }) => readFileSync(path).toString("hex");

test("many files arrive as one archive, each with a unique name", async () => {
  const [alice, bob] = await pair(browser, server);
  const folder = await downloadsTo(bob);
  const files = [...many("packed", 30), makeFile("large.bin", 9 * MB), makeFile("none", 0)];
  await chooses(alice, ...files);
  await choosesNamed(alice, ["twice.txt", "TWICE.txt", "twice.txt"]);
  await reach(bob, "offered", 35);
  await bob.click("#accept-archive");
  await reach(bob, "done", 35);
  await until(bob, async () => document.querySelectorAll("[data-saving='packed']").length === 35);
  await row(bob, files[0]).locator(".now", { hasText: "Look for files.zip in your downloads" }).waitFor();
  await archives(join(folder, "files.zip"), {
    ...Object.fromEntries(files.map((file) => [file.name, hex(file)])), "twice.txt": "78", "TWICE (2).txt": "78", "twice (3).txt": "78",
  });
});

const TREE = {
  "read me.txt": "first", "2024/January/a.jpg": "a", "2024/January/b.jpg": "bb", "2024/a.jpg": "another a", ".hidden": "dot", "2024/none.txt": "",
  ...Object.fromEntries(Array.from({ length: 120 }, (_, i) => [`many/${i}.txt`, `number ${i}`])),
};
test("a chosen folder is one row, and arrives as one archive with its structure", async () => {
  const [alice, bob] = await pair(browser, server);
  const folder = await downloadsTo(bob);
  const photos = makeFolder("Photos", TREE);
  await alice.setInputFiles("#choose-directory", photos.path);
  await showsText(bob, photos, "It arrives as one archive, Photos.zip.");
  for (const page of [alice, bob]) {
    assert.equal(await page.locator(".transfer").count(), 1);
    assert.match(await row(page, photos).innerText(), /126 files, /);
  }
  await press(bob, photos, "Receive");
  await archives(join(folder, "Photos.zip"), packed("Photos", TREE));
  await Promise.all([becomes(alice, photos, "done"), becomes(bob, photos, "done")]);
  await showsText(bob, photos, "Look for Photos.zip in your downloads.");

  rmSync(join(folder, "Photos.zip"));
  await press(bob, photos, "Save again");
  await archives(join(folder, "Photos.zip"), packed("Photos", TREE));
  await bob.click("#clear-finished");
  await hasParts(bob, 0);
});

test("a folder dropped together with a file keeps its structure, including empty folders", async () => {
  const [alice, bob] = await pair(browser, server);
  const folder = await downloadsTo(bob);
  const tree = { ...TREE, "empty/within": null };
  const [photos, loose] = [makeFolder("Photos", tree), makeFile("loose.txt", 10)];
  await drops(alice, photos, loose);
  await reach(bob, "offered", 2);
  await bob.click("#accept-all");
  await archives(join(folder, "Photos.zip"), packed("Photos", tree));
  await holds(folder, { "Photos.zip": statSync(join(folder, "Photos.zip")).size, "loose.txt": 10 });
});

/** Replaces the directory picker with one that the test can inspect. Runs in the page. */
function picks() {
  window.showDirectoryPicker = async () => (await navigator.storage.getDirectory()).getDirectoryHandle("picked", { create: true });
}

/** Reads the picked directory: contents by path. */
function picked(page) {
  return page.evaluate(async () => {
    const found = {};
    const walk = async (directory, path) => {
      let empty = true;
      for await (const [name, handle] of directory.entries()) {
        empty = false;
        if (handle.kind === "directory") await walk(handle, `${path}${name}/`);
        else found[path + name] = await (await handle.getFile()).text();
      }
      if (empty) found[path.slice(0, -1)] = null;
    };
    await walk(await (await navigator.storage.getDirectory()).getDirectoryHandle("picked"), "");
    return found;
  });
}

test("folders arrive as folders in a chosen directory, and overwrite nothing", async () => {
  const [alice, bob] = await pair(browser, server, { receiver: picks });
  await bob.evaluate(async () => {
    const directory = await window.showDirectoryPicker();
    const mine = await (await (await directory.getDirectoryHandle("Photos", { create: true })).getFileHandle("mine.txt", { create: true })).createWritable();
    await mine.write("mine");
    await mine.close();
  });
  const tree = { ...TREE, "empty/within": null };
  const photos = makeFolder("Photos", tree);
  await drops(alice, photos);
  await choosesNamed(alice, ["same.txt", "same.txt"]);
  await reach(bob, "offered", 3);
  await bob.click("#accept-directory");
  await reach(bob, "done", 3);
  await bob.locator("#total").waitFor({ state: "hidden" });
  for (const file of [photos, { name: "same.txt" }]) await row(bob, file).locator(".now", { hasText: "Saved in the folder picked." }).first().waitFor();
  assert.deepEqual(await picked(bob), {
    "Photos/mine.txt": "mine", "same.txt": "x", "same (2).txt": "x",
    ...Object.fromEntries(Object.entries(tree).map(([path, content]) => [`Photos (2)/${path}`, content])),
  });
  // A written file takes no room in the page, and stays finished after a reload.
  await hasParts(bob, 0);
  await bob.reload();
  await areConnected(alice, bob);
  await reach(bob, "done", 3);
});

test("a directory that rejects a file: the row says so, and the file can be saved elsewhere", async () => {
  const [alice, bob] = await pair(browser, server, { receiver: () => {
    window.showDirectoryPicker = async () => ({ name: "full", getFileHandle: async () => { throw new DOMException("full", "QuotaExceededError"); } });
  } });
  const folder = await downloadsTo(bob);
  const files = [makeFile("one.txt", 100), makeFile("two.txt", 100)];
  await chooses(alice, ...files);
  await reach(bob, "offered", 2);
  await bob.click("#accept-directory");
  await showsText(bob, files[0], "not saved");
  assertNoFaults({ expected: /a file could not be saved/ });
  await bob.click("#clear-finished");
  await press(bob, files[0], "Save");
  await showsText(bob, files[1], "not saved");
  await press(bob, files[1], "Save");
  await holds(folder, sizes(files));
  assertNoFaults({ expected: /a file could not be saved/ });
});

test("a folder continues after both pages are reloaded", async () => {
  const [alice, bob] = await pair(browser, server, { sender: gate });
  const folder = await downloadsTo(bob);
  const photos = makeFolder("Photos", TREE);
  await alice.evaluate(() => window.allow(40));
  await alice.setInputFiles("#choose-directory", photos.path);
  await press(bob, photos, "Receive");
  await hasParts(bob, 40);
  await Promise.all([alice.reload(), bob.reload()]);
  await areConnected(alice, bob);
  await showsText(alice, photos, "Choose it again");
  await showsText(bob, photos, "They have to choose the folder again");
  await alice.evaluate(() => window.allow(1000));
  await alice.setInputFiles("#choose-directory", photos.path);
  await archives(join(folder, "Photos.zip"), packed("Photos", TREE));
  await becomes(alice, photos, "done");
  assert.equal(await alice.locator(".transfer").count(), 1);
});
