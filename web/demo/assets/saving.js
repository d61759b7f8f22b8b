/**
 * Saves files that this page received: one after the other, so that the browser drops
 * none. Chromium ignores clicks on downloads beyond ten a second, and tells nobody.
 */

import { archiveOf, numbered } from "./archive.js";

/** Milliseconds between two downloads. */
const DOWNLOAD_GAP = 150;
/** How long the browser has to begin a download before its address is gone, in milliseconds. */
const ADDRESS_LIFE = 120_000;

/**
 * How far saving a file has come:
 *
 *     waiting   for its turn
 *     rest      for the other files of its archive
 *     packing   its archive is being made
 *     given     to the browser's downloads; the page does not learn what becomes of it
 *     packed    the same, in an archive
 *     written   into a directory by this page, and closed without an error
 *     failed    it is still kept by this page
 *
 * @typedef {"waiting" | "rest" | "packing" | "given" | "packed" | "written" | "failed"} State
 *
 * @typedef {import("./incoming.js").Received} Received
 * @typedef {{files: Received[], act: () => Promise<void>}} Job
 */

export class Saving {
  /** @type {Job[]} */
  #jobs = [];
  #working = false;
  #clicked = -Infinity;
  /** Which file has a name in the downloads. @type {Map<string, string>} */
  #names = new Map();
  /** Names of folders in a directory, by directory and folder. @type {WeakMap<FileSystemDirectoryHandle, Map<string, string>>} */
  #roots = new WeakMap();
  #file;
  #release;
  #onchange;

  /**
   * @param {object} options
   * @param {(one: Received) => Promise<Blob | undefined>} options.file
   * @param {(one: Received) => Promise<void>} options.release called when a file is where it was to go
   * @param {(one: Received) => void} options.onchange
   */
  constructor({ file, release, onchange }) {
    this.#file = file;
    this.#release = release;
    this.#onchange = onchange;
  }

  /** @returns {number} how many files are to be saved yet */
  get left() {
    return this.#jobs.reduce((sum, { files }) => sum + files.length, 0);
  }

  /**
   * Saves a file that is complete to where it was to go.
   * @param {Received} one
   */
  take(one) {
    const { target } = one;
    if (target?.kind === "archive") this.#change(one, "rest");
    else if (target?.kind === "directory") this.#toDirectory(one, target.directory);
    else this.toDownloads([one]);
  }

  /** Takes up what was saved before this page was loaded again. @param {Received[]} list */
  restore(list) {
    for (const one of list) if (one.saving === "given") this.#nameOf(one);
    for (const one of list) if (one.saving !== undefined && ["waiting", "rest", "packing"].includes(one.saving)) this.take(one);
    for (const one of list) if (one.saving === "rest") this.settle(list, one);
  }

  /**
   * Packs an archive whose files are all over.
   * @param {Received[]} list of all files
   * @param {Received} one of the archive
   */
  settle(list, { target }) {
    const all = list.filter((other) => other.target?.batch === target?.batch);
    if (!all.every(({ state }) => state === "done" || state === "cancelled")) return;
    const rest = all.filter(({ saving }) => saving === "rest");
    if (rest.length > 0) this.toArchive(rest, target?.name ?? "files.zip");
  }

  /** Gives files to the browser's downloads, each by itself. @param {Received[]} files */
  toDownloads(files) {
    for (const one of files) {
      this.#add([one], async () => {
        await this.#download(await this.#content(one), this.#nameOf(one));
        this.#change(one, "given");
      });
    }
  }

  /**
   * Gives files to the browser's downloads as one archive.
   * @param {Received[]} files
   * @param {string} name
   */
  toArchive(files, name) {
    this.#add(files, async () => {
      for (const one of files) this.#change(one, "packing");
      const entries = [];
      for (const one of files) entries.push({ path: pathOf(one), content: one.folder?.empty ? undefined : await this.#content(one), modified: one.modified });
      await this.#download(await archiveOf(entries), name);
      for (const one of files) this.#change(one, "packed", name);
    });
  }

  /**
   * @param {Received} one
   * @param {FileSystemDirectoryHandle | undefined} directory undefined if the page was loaded again
   */
  #toDirectory(one, directory) {
    if (directory === undefined) return this.#change(one, "failed");
    this.#add([one], async () => {
      await this.#write(one, directory);
      await this.#release(one);
      this.#change(one, "written", directory.name);
    });
  }

  /**
   * @param {Received[]} files
   * @param {() => Promise<void>} act
   */
  #add(files, act) {
    if (files.every(({ saving }) => saving === "waiting" || saving === "packing")) return;
    this.#jobs.push({ files, act });
    for (const one of files) this.#change(one, "waiting");
    this.#work();
  }

  async #work() {
    if (this.#working) return;
    this.#working = true;
    for (let job; (job = this.#jobs[0]); this.#jobs.shift()) {
      try {
        await job.act();
      } catch (error) {
        console.warn("a file could not be saved", error);
        for (const one of job.files) this.#change(one, "failed");
      }
    }
    this.#working = false;
  }

  /**
   * The name of a file in the downloads, of which no other file has the same: some
   * browsers overwrite what they downloaded before.
   * @param {Received} one
   */
  #nameOf({ id, name }) {
    let free = name;
    for (let n = 2; (this.#names.get(free.toLowerCase()) ?? id) !== id; n++) free = numbered(name, n);
    this.#names.set(free.toLowerCase(), id);
    return free;
  }

  /** @param {Received} one */
  async #content(one) {
    const content = await this.#file(one);
    if (content === undefined) throw new Error("this page does not have the file any more");
    return content;
  }

  /**
   * @param {Blob} content
   * @param {string} name
   */
  async #download(content, name) {
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, this.#clicked + DOWNLOAD_GAP - performance.now())));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(content);
    link.download = name;
    link.click();
    this.#clicked = performance.now();
    setTimeout(() => URL.revokeObjectURL(link.href), ADDRESS_LIFE);
  }

  /**
   * Writes a file into a directory, beside what is there.
   * @param {Received} one
   * @param {FileSystemDirectoryHandle} directory
   */
  async #write(one, directory) {
    let where = directory;
    for (const [depth, name] of (one.folder?.path ?? []).entries()) {
      where = await where.getDirectoryHandle(depth > 0 ? name : await this.#root(one, directory), { create: true });
    }
    if (one.folder?.empty) return;
    const content = await this.#content(one);
    const name = await freeName(where, one.name);
    try {
      await content.stream().pipeTo(await (await where.getFileHandle(name, { create: true })).createWritable());
    } catch (error) {
      await where.removeEntry(name).catch(() => {});
      throw error;
    }
  }

  /**
   * The name of a folder in a directory: its own, if it was free when the first file came.
   * @param {Received} one
   * @param {FileSystemDirectoryHandle} directory
   */
  async #root({ folder }, directory) {
    const roots = this.#roots.get(directory) ?? new Map();
    this.#roots.set(directory, roots);
    const name = roots.get(folder?.id) ?? (await freeName(directory, folder?.path[0] ?? ""));
    roots.set(folder?.id, name);
    return name;
  }

  /**
   * @param {Received} one
   * @param {State} saving
   * @param {string} [place]
   */
  #change(one, saving, place) {
    one.saving = saving;
    one.place = place;
    this.#onchange(one);
  }
}

/** @param {Received} one @returns {string[]} its path in an archive */
function pathOf({ folder, name }) {
  return [...(folder?.path ?? []), ...(folder?.empty ? [] : [name])];
}

/**
 * A name that nothing in a directory has.
 * @param {FileSystemDirectoryHandle} directory
 * @param {string} name
 */
async function freeName(directory, name) {
  const is = (/** @type {Promise<unknown>} */ look) => look.then(() => true, (error) => error.name === "TypeMismatchError");
  let free = name;
  for (let n = 2; await is(directory.getFileHandle(free)); n++) free = numbered(name, n);
  return free;
}
