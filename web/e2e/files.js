/** Files, and helpers for sending them on the files page. */

import assert from "node:assert/strict";
import { createHash, randomFillSync } from "node:crypto";
import { createReadStream, mkdtempSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { person, reaches, until } from "./browser.js";

export const MB = 1e6;
/** The modification time of all files, so that a test can replace one unnoticed. */
const MODIFIED = 1_700_000_000;

/** @type {string[]} */
const made = [];
process.on("exit", () => made.forEach((folder) => rmSync(folder, { recursive: true, force: true })));

/** Creates a directory that is removed at the end. */
export function makeDirectory() {
  const folder = mkdtempSync(join(tmpdir(), "inbox-files-"));
  made.push(folder);
  return folder;
}

/** @type {string | undefined} */
let folder;

/** Creates a file on the disk without repeated content. @param {string} name @param {number} size */
export function makeFile(name, size) {
  folder ??= makeDirectory();
  const content = Buffer.alloc(size);
  const block = randomFillSync(Buffer.alloc(Math.min(size, 2 ** 16)));
  for (let at = 0; at < size; at += block.length) {
    block.copy(content, at);
    if (size - at >= 8) content.writeDoubleLE(at, at);
  }
  const path = join(folder, name);
  writeFileSync(path, content);
  utimesSync(path, MODIFIED, MODIFIED);
  return { name, path, size, digest: createHash("sha256").update(content).digest("hex") };
}

/** @param {string} path */
export async function digestOf(path) {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  return hash.digest("hex");
}

/**
 * Opens the files page for two people and connects them.
 * @param {import("playwright-core").Browser} browser
 * @param {{local: string}} server
 * @param {{sender?: () => void, receiver?: () => void}} [scripts] run in their pages first
 */
export async function pair(browser, server, { sender, receiver } = {}) {
  const [alice, bob] = await Promise.all([person(browser), person(browser)]);
  if (sender) await alice.addInitScript(sender);
  if (receiver) await bob.addInitScript(receiver);
  await alice.goto(`${server.local}files`);
  await reaches(alice, "waiting");
  await bob.goto(await alice.inputValue("#link"));
  await areConnected(alice, bob);
  return [alice, bob];
}

/** @param {...import("playwright-core").Page} pages */
export async function areConnected(...pages) {
  await Promise.all(pages.map(async (page) => {
    await reaches(page, "connected");
    await page.waitForSelector("body[data-path]");
  }));
}

/** @param {import("playwright-core").Page} page @param {...{path: string}} files */
export async function chooses(page, ...files) {
  await page.setInputFiles("#choose", files.map(({ path }) => path));
}

/** Chooses files of one byte, with names that a disk would not accept. @param {import("playwright-core").Page} page @param {string[]} names */
export async function choosesNamed(page, names) {
  await page.evaluate((names) => {
    const files = new DataTransfer();
    for (const name of names) files.items.add(new File(["x"], name));
    document.getElementById("choose").files = files.files;
    document.getElementById("choose").dispatchEvent(new Event("change"));
  }, names);
}

/** Returns the row of a file. @param {import("playwright-core").Page} page @param {{name: string}} file */
export function row(page, { name }) {
  return page.locator(".transfer", { has: page.locator("bdi", { hasText: name }) });
}

/** Clicks a button of a row. */
export async function press(page, file, label) {
  await row(page, file).getByRole("button", { name: `${label}: ` }).click();
}

/** Waits until a row shows a text. */
export async function showsText(page, file, words) {
  await row(page, file).locator(".now", { hasText: words }).waitFor();
}

/** Waits until a row is in a state. */
export async function becomes(page, file, state) {
  await page.locator(`.transfer[data-state="${state}"]`, { has: page.locator("bdi", { hasText: file.name }) }).waitFor();
}

/** Waits for a download and checks that it has the content of a file. */
export async function arrives(page, file, download) {
  const got = await download;
  assert.equal(got.suggestedFilename(), file.name);
  assert.equal(await digestOf(await got.path()), file.digest, "the content differs");
  await becomes(page, file, "done");
}

/** Waits for the next download of a page, for long enough on a busy machine. */
export function download(page) {
  const promise = page.waitForEvent("download", { timeout: 120_000 });
  promise.catch(() => {}); // the caller handles it
  return promise;
}

/**
 * Saves the downloads of a page in a directory, as for a person. Playwright's own handling
 * accepts more downloads than a browser usually does.
 * @param {import("playwright-core").Page} page
 * @returns {Promise<string>} the folder
 */
export async function downloadsTo(page) {
  const to = makeDirectory();
  const target = await page.context().newCDPSession(page);
  const { targetInfo: { browserContextId } } = await target.send("Target.getTargetInfo");
  const all = await page.context().browser().newBrowserCDPSession();
  await all.send("Browser.setDownloadBehavior", { behavior: "allow", browserContextId, downloadPath: to });
  return to;
}

/**
 * Waits until a directory contains exactly files of these sizes.
 * @param {string} folder
 * @param {Record<string, number>} files sizes by name
 * @param {number} [limit] in milliseconds
 */
export async function holds(folder, files, limit = 60_000) {
  const look = () => Object.fromEntries(readdirSync(folder).sort().map((name) => [name, statSync(join(folder, name), { throwIfNoEntry: false })?.size]));
  const wanted = Object.fromEntries(Object.entries(files).sort(([a], [b]) => (a < b ? -1 : 1)));
  const deadline = performance.now() + limit;
  while (JSON.stringify(look()) !== JSON.stringify(wanted) && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 100));
  assert.deepEqual(look(), wanted);
}

/** Waits until a page stores a number of parts on its disk. */
export async function hasParts(page, count) {
  await until(page, async (count) => {
    let found = 0;
    const all = await (await navigator.storage.getDirectory()).getDirectoryHandle("inbox-files", { create: true });
    try {
      for await (const one of all.values()) {
        for await (const name of one.keys()) if (/^\d+$/.test(name)) found += Number((await (await one.getFileHandle(name)).getFile()).size > 0);
      }
    } catch {
      return false; // the page is removing them
    }
    return found === count;
  }, count);
}

/** Makes a page wait for window.allow before it reads parts of its files. Runs in the page. */
export function gate() {
  const read = Blob.prototype.arrayBuffer;
  const opened = new EventTarget();
  window.reads = 0;
  window.allow = (count) => {
    sessionStorage.setItem("allowed", count);
    opened.dispatchEvent(new Event("open"));
  };
  Blob.prototype.arrayBuffer = async function () {
    const turn = ++window.reads;
    while (turn > Number(sessionStorage.getItem("allowed") ?? Infinity)) {
      await new Promise((resolve) => opened.addEventListener("open", resolve, { once: true }));
    }
    return read.call(this);
  };
}
