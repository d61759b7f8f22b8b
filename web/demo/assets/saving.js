/**
 * Saves received files one after the other. Chromium silently drops downloads beyond ten a
 * second.
 */

import { archiveOf, numbered } from "./archive.js";

/** Pause between two downloads, in milliseconds. */
const DOWNLOAD_GAP = 150;
/** How long the browser may take to begin a download before its URL is revoked, in milliseconds. */
const ADDRESS_LIFE = 120_000;

/**
 * The stages of saving a file:
 *
 *     waiting   waits for its turn
 *     rest      waits for the other files of its archive
 *     packing   is being packed into its archive
 *     given     was given to the browser's downloads; the page does not learn the outcome
 *     packed    the same, within an archive
 *     written   this page wrote it into a directory without an error
 *     failed    was not saved; this page still has it
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
  /** Ids of files by their names in the downloads. @type {Map<string, string>} */
  #names = new Map();
  /** Names of folders in a directory, by directory and folder. @type {WeakMap<FileSystemDirectoryHandle, Map<string, string>>} */
  #roots = new WeakMap();
  #file;
  #release;
  #onchange;

  /**
   * @param {object} options
   * @param {(one: Received) => Promise<Blob | undefined>} options.file
   * @param {(one: Received) => Promise<void>} options.release called when a file was written to its directory
   * @param {(one: Received) => void} options.onchange
   */
  constructor({ file, release, onchange }) {
    this.#file = file;
    this.#release = release;
    this.#onchange = onchange;
  }

  /** @returns {number} the number of files still to be saved */
  get left() {
    return this.#jobs.reduce((sum, { files }) => sum + files.length, 0);
  }

  /**
   * Saves a complete file to its target.
   * @param {Received} one
   */
  take(one) {
    const { target } = one;
    if (target?.kind === "archive") this.#change(one, "rest");
    else if (target?.kind === "directory") this.#toDirectory(one, target.directory);
    else this.toDownloads([one]);
  }

  /** Restores the state from before a reload. @param {Received[]} list */
  restore(list) {
    for (const one of list) if (one.saving === "given") this.#nameOf(one);
    for (const one of list) if (one.saving !== undefined && ["waiting", "rest", "packing"].includes(one.saving)) this.take(one);
    for (const one of list) if (one.saving === "rest") this.settle(list, one);
  }

  /**
   * Packs an archive once all of its files have ended.
   * @param {Received[]} list of all files
   * @param {Received} one of the archive
   */
  settle(list, { target }) {
    const all = list.filter((other) => other.target?.batch === target?.batch);
    if (!all.every(({ state }) => state === "done" || state === "cancelled")) return;
    const rest = all.filter(({ saving }) => saving === "rest");
    if (rest.length > 0) this.toArchive(rest, target?.name ?? "files.zip");
  }

  /** Gives files to the browser's downloads one by one. @param {Received[]} files */
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
   * @param {FileSystemDirectoryHandle | undefined} directory undefined after a reload
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
   * Returns a unique name for a file in the downloads: some browsers overwrite earlier
   * downloads.
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
   * Writes a file into a directory without overwriting anything.
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
   * Returns the name of a folder in a directory: its original name, unless that was taken when its first file arrived.
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
 * Returns a name that is free in a directory.
 * @param {FileSystemDirectoryHandle} directory
 * @param {string} name
 */
async function freeName(directory, name) {
  const is = (/** @type {Promise<unknown>} */ look) => look.then(() => true, (error) => error.name === "TypeMismatchError");
  let free = name;
  for (let n = 2; await is(directory.getFileHandle(free)); n++) free = numbered(name, n);
  return free;
}
