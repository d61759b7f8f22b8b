/**
 * The protocol of a file transfer, shared by sender and receiver.
 *
 * A file is sent in parts. For each part, the channel "files" carries a header as JSON,
 * {id, part, size, digest}, and then the bytes in chunks. All other messages are JSON on
 * the meeting's channel, so that they do not wait behind bytes:
 *
 *     sender:    offer {id, name, size, partSize, modified, readable, folder?}     end {id, digest}
 *     receiver:  want {id, part}   have {id, part}   again {id, part}   done {id}   failed {id}
 *     both:      cancel {id, why?}
 *
 * The offer of a file in a folder names the folder as {id, path, files}: the path from the
 * folder's name down, and the number of files in all. An empty folder within it is an offer
 * without bytes and name, with empty: true.
 *
 * The digest of a part is its SHA-256. The final digest is the SHA-256 of the digests of all
 * parts, in order. A sender has at most WINDOW parts in flight that the receiver has not
 * confirmed, which bounds the receiver's memory.
 */

import { fileName, folderPath } from "./text.js";

export const WINDOW = 4;
/** Maximum number of files per direction. A folder counts as all of its files. */
export const MOST_FILES = 5000;
const MIB = 2 ** 20;
const MIN_PART = 64 * 1024;
const MAX_PART = 16 * MIB;
/** Maximum length of a header, in characters. */
const MAX_HEADER = 1000;

/**
 * @typedef {"offered" | "going" | "checking" | "done" | "cancelled" | "damaged" | "unreadable"} State
 *
 * @typedef {object} Transfer
 * @property {string} id random, 26 letters and digits
 * @property {string} name
 * @property {number} size in bytes
 * @property {number} partSize
 * @property {number} modified when the file was last changed, in milliseconds since 1970
 * @property {Folder} [folder] the folder that contains it
 * @property {State} state
 * @property {string} [why] why it was cancelled, as a name in files-words.js
 * @property {number} had number of parts on the receiver's disk, as far as this side knows
 * @property {number} moved number of transferred bytes, as far as this side knows
 * @property {Rate} rate
 *
 * @typedef {object} Folder
 * @property {string} id random, the same for all files of the folder
 * @property {string[]} path from the folder's own name down to where the file is
 * @property {number} files number of transfers in the folder
 * @property {boolean} [empty] marks a folder without files at that path
 *
 * @typedef {{id: string, name: string, size: number, partSize: number, modified: number, readable: boolean, folder?: Folder}} Offer
 *
 * @typedef {{id: string, part: number, size: number, digest: string}} Header
 */

/** Returns the size of a part, in bytes. Large files have larger parts, so that their number stays small. @param {number} size */
export function partSizeOf(size) {
  return size > 16 * 1024 * MIB ? MAX_PART : 4 * MIB;
}

/** @param {{size: number, partSize: number}} transfer */
export function partsOf({ size, partSize }) {
  return Math.ceil(size / partSize);
}

/**
 * @param {{size: number, partSize: number}} transfer
 * @param {number} part
 * @returns {number} bytes in it
 */
export function lengthOf({ size, partSize }, part) {
  return Math.min(partSize, size - part * partSize);
}

/** Reports whether a transfer has ended. @param {{state: State}} transfer */
export function isOver({ state }) {
  return state === "done" || state === "cancelled";
}

/**
 * Validates an offer from the other side.
 * @param {any} data
 * @returns {Offer | undefined}
 */
export function readOffer({ id, name, size, partSize, modified, readable, folder: given }) {
  if (!isId(id) || typeof name !== "string" || name.length > 1000) return undefined;
  if (!Number.isSafeInteger(size) || size < 0) return undefined;
  if (!Number.isSafeInteger(partSize) || partSize < MIN_PART || partSize > MAX_PART) return undefined;
  const folder = given === undefined ? undefined : readFolder(given);
  if (given !== undefined && (!folder || (folder.empty && size > 0))) return undefined;
  return {
    id, size, partSize, folder, readable: readable === true,
    name: folder?.empty ? "" : fileName(name, { hidden: folder !== undefined }),
    modified: Number.isSafeInteger(modified) ? modified : Date.now(),
  };
}

/**
 * @param {any} given
 * @returns {Folder | undefined}
 */
function readFolder(given) {
  const path = folderPath(given?.path);
  if (!path || !isId(given.id) || !Number.isSafeInteger(given.files) || given.files < 1 || given.files > MOST_FILES) return undefined;
  return { id: given.id, path, files: given.files, ...(given.empty === true && { empty: true }) };
}

/**
 * @param {string} text
 * @returns {Header | undefined}
 */
export function readHeader(text) {
  if (text.length > MAX_HEADER) return undefined;
  try {
    const { id, part, size, digest } = JSON.parse(text);
    const fine = isId(id) && Number.isSafeInteger(part) && part >= 0 && Number.isSafeInteger(size) && size > 0 && size <= MAX_PART;
    return fine && typeof digest === "string" ? { id, part, size, digest } : undefined;
  } catch {
    return undefined;
  }
}

/** @param {unknown} id */
function isId(id) {
  return typeof id === "string" && /^[0-9a-z]{26}$/.test(id);
}

/**
 * SHA-256, in hexadecimal.
 * @param {BufferSource} bytes
 */
export async function digestOf(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Returns the digest of a whole file. @param {string[]} digests of its parts */
export function digestOfAll(digests) {
  return digestOf(new TextEncoder().encode(digests.join("\n")));
}

/** Minimum time between two measurements, in milliseconds. */
const MEASURE_GAP = 200;

/** The transfer rate over the last five seconds. */
export class Rate {
  /** @type {[number, number][]} times and bytes */
  #seen = [];

  /** @param {number} bytes transferred in all */
  note(bytes) {
    const now = performance.now();
    const last = this.#seen[this.#seen.length - 1];
    if (last && now - last[0] < MEASURE_GAP && this.#seen.length > 1) return;
    this.#seen.push([now, bytes]);
    while (this.#seen.length > 2 && now - this.#seen[0][0] > 5000) this.#seen.shift();
  }

  /** Forgets the measurements, so that a pause does not count. */
  forget() {
    this.#seen = [];
  }

  /** @returns {number} bytes per second; 0 if unknown */
  get now() {
    if (this.#seen.length < 2) return 0;
    const [[from, first]] = this.#seen;
    const [, last] = this.#seen[this.#seen.length - 1];
    return ((last - first) * 1000) / Math.max(1, performance.now() - from);
  }
}
