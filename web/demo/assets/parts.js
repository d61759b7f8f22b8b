/**
 * Stores the parts of a file that is being received in the browser's origin private file
 * system. Each part is a separate file, so written parts survive whatever happens to the page.
 */

import { fillSpace, giveSpace, removeLeftSpace, takeSpace } from "./space.js";
import { digestOf } from "./transfer.js";

const FOLDER = "inbox-files";
/** Maximum size of all files together, in bytes, if the browser offers no disk and memory stores them. */
const MEMORY = 512 * 2 ** 20;
/** Parts that no page has opened for this long, in milliseconds, are removed. */
const MAX_PART_AGE = 3 * 24 * 3600_000;
/** How long a page may take to unload when it is reloaded, in milliseconds. */
const UNLOAD_TIMEOUT = 1500;
/** An empty file whose date tells when a page last opened the parts. */
const OPENED = "opened";
/**
 * @typedef {object} Parts
 * @property {boolean} lasts whether the parts survive a reload
 * @property {(part: number, bytes: Uint8Array<ArrayBuffer>) => Promise<void>} write
 * @property {(part: number) => Promise<string>} digest reads the stored part and returns its digest
 * @property {(length: (part: number) => number) => Promise<number>} complete counts the complete parts, from the first one on
 * @property {() => Promise<Blob>} join
 * @property {() => Promise<void>} remove
 */

/** @returns {boolean} */
const hasDisk = () => typeof FileSystemFileHandle !== "undefined" && "createWritable" in FileSystemFileHandle.prototype;

/** @returns {Promise<boolean>} whether parts are written to a disk */
export async function writesToDisk() {
  return (await folder()) !== undefined;
}

/**
 * Opens the storage for a file and reserves space for all of it.
 * @param {string} id of the transfer
 * @param {number} size of the file
 * @param {number} count of its parts
 * @returns {Promise<Parts | undefined>} undefined if there is not enough space
 */
export async function openParts(id, size, count) {
  const all = await folder();
  if (!all) return size <= MEMORY - inMemory ? inMemoryOf(size) : undefined;
  if (!(await takeSpace(id, size, count))) return undefined;
  try {
    return await onDisk(all, id, count);
  } catch (error) {
    giveSpace(id);
    throw error;
  }
}

/**
 * Reopens the parts of a file that arrived before this page was reloaded.
 * @param {string} id of the transfer
 * @param {number} count of its parts
 * @param {(part: number) => number} length of a part
 * @returns {Promise<{parts: Parts, had: number, fits: boolean}>} had: the number of complete parts, from the first one
 *   on; fits: whether there is space for the others
 */
export async function reopenParts(id, count, length) {
  const all = await folder();
  if (!all) return { parts: inMemoryOf(0), had: 0, fits: false };
  const parts = await onDisk(all, id, count);
  const had = await parts.complete(length);
  let left = 0;
  for (let part = had; part < count; part++) left += length(part);
  const fits = async () => left === 0 || (await takeSpace(id, left, count - had));
  if (await fits()) return { parts, had, fits: true };
  // The previous page may still be unloading and holding its space.
  await new Promise((resolve) => setTimeout(resolve, UNLOAD_TIMEOUT));
  await removeLeftSpace();
  return { parts, had, fits: await fits() };
}

/** Removes parts and space that closed pages left behind. */
export async function removeForgotten() {
  const all = await folder();
  if (!all) return;
  await removeLeftSpace();
  for await (const [id, one] of all.entries()) {
    const opened = await /** @type {FileSystemDirectoryHandle} */ (one).getFileHandle(OPENED).then((file) => file.getFile(), () => undefined);
    // A folder without that file is being created, or was abandoned; its next opening decides.
    if (opened && Date.now() - opened.lastModified > MAX_PART_AGE) await all.removeEntry(id, { recursive: true }).catch(() => {});
  }
}

async function folder() {
  if (!hasDisk()) return undefined;
  try {
    return await (await navigator.storage.getDirectory()).getDirectoryHandle(FOLDER, { create: true });
  } catch {
    return undefined; // private windows of some browsers
  }
}

/**
 * @param {FileSystemDirectoryHandle} all
 * @param {string} id
 * @param {number} count
 * @returns {Promise<Parts>}
 */
async function onDisk(all, id, count) {
  const own = await all.getDirectoryHandle(id, { create: true });
  const write = async (/** @type {string} */ name, /** @type {BufferSource} */ bytes) => {
    const file = await (await own.getFileHandle(name, { create: true })).createWritable();
    await file.write(bytes);
    await file.close();
  };
  const read = async (/** @type {number} */ part) => (await own.getFileHandle(String(part))).getFile();
  await write(OPENED, new Uint8Array());
  return {
    lasts: true,
    write: (part, bytes) => fillSpace(id, bytes.length, () => write(String(part), bytes)),
    digest: async (part) => digestOf(await (await read(part)).arrayBuffer()),
    async complete(length) {
      for (let part = 0; part < count; part++) {
        const size = await read(part).then((file) => file.size, () => -1);
        if (size !== length(part)) return part;
      }
      return count;
    },
    async join() {
      /** @type {File[]} */
      const files = [];
      for (let part = 0; part < count; part++) files.push(await read(part));
      return new Blob(files, { type: "application/octet-stream" });
    },
    remove() {
      giveSpace(id);
      return all.removeEntry(id, { recursive: true }).catch(() => {});
    },
  };
}

let inMemory = 0;

/**
 * @param {number} size
 * @returns {Parts}
 */
function inMemoryOf(size) {
  /** @type {Uint8Array<ArrayBuffer>[]} */
  let kept = [];
  inMemory += size;
  return {
    lasts: false,
    write: async (part, bytes) => void (kept[part] = bytes),
    digest: (part) => digestOf(kept[part]),
    complete: async () => kept.length,
    join: async () => new Blob(kept, { type: "application/octet-stream" }),
    async remove() {
      kept = [];
      inMemory -= size;
      size = 0;
    },
  };
}
