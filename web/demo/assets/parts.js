/**
 * Where the parts of a file are kept that is being received: on the disk, in the
 * part of it that the browser gives to this page (the origin private file system).
 * Each part is a file of its own: what was written stays, whatever happens to the page.
 */

import { digestOf } from "./transfer.js";

const FOLDER = "inbox-files";
/** What this page takes into memory, if the browser gives it no disk. */
export const MEMORY = 512 * 2 ** 20;
/** Parts that nobody has looked at for so long are removed. */
const FORGOTTEN = 3 * 24 * 3600_000;
/** Says when they were last looked at. */
const OPENED = "opened";

/**
 * @typedef {object} Parts
 * @property {boolean} lasts whether they outlive the page
 * @property {(part: number, bytes: Uint8Array<ArrayBuffer>) => Promise<void>} write
 * @property {(part: number) => Promise<string>} digest of what is kept, read again
 * @property {(count: number, length: (part: number) => number) => Promise<number>} complete how many are whole, from the first one on
 * @property {(count: number) => Promise<Blob>} join
 * @property {() => Promise<void>} remove
 */

/** @returns {boolean} */
const hasDisk = () => typeof FileSystemFileHandle !== "undefined" && "createWritable" in FileSystemFileHandle.prototype;

/** How many bytes can be taken; undefined if that is not known. */
export async function room() {
  if (!(await folder())) return MEMORY - inMemory;
  const { quota, usage } = await navigator.storage.estimate();
  return quota === undefined ? undefined : quota - (usage ?? 0);
}

/** @returns {Promise<boolean>} whether parts go to a disk */
export async function writesToDisk() {
  return (await folder()) !== undefined;
}

/**
 * @param {string} id of the transfer
 * @param {number} size of the file
 * @returns {Promise<Parts>}
 */
export async function openParts(id, size) {
  const all = await folder();
  return all ? onDisk(all, id) : inMemoryOf(size);
}

/** Removes what was left behind. */
export async function removeForgotten() {
  const all = await folder();
  if (!all) return;
  for await (const [id, one] of all.entries()) {
    const opened = await /** @type {FileSystemDirectoryHandle} */ (one).getFileHandle(OPENED).then((file) => file.getFile(), () => undefined);
    // One without that is being made, or came to nothing: its next opening tells.
    if (opened && Date.now() - opened.lastModified > FORGOTTEN) await all.removeEntry(id, { recursive: true }).catch(() => {});
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
 * @returns {Promise<Parts>}
 */
async function onDisk(all, id) {
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
    write: (part, bytes) => write(String(part), bytes),
    digest: async (part) => digestOf(await (await read(part)).arrayBuffer()),
    async complete(count, length) {
      for (let part = 0; part < count; part++) {
        const size = await read(part).then((file) => file.size, () => -1);
        if (size !== length(part)) return part;
      }
      return count;
    },
    async join(count) {
      /** @type {File[]} */
      const files = [];
      for (let part = 0; part < count; part++) files.push(await read(part));
      return new Blob(files, { type: "application/octet-stream" });
    },
    remove: () => all.removeEntry(id, { recursive: true }).catch(() => {}),
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
