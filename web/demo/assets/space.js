/**
 * Reserves space on the disk for accepted files that have not arrived yet.
 *
 * A browser does not report how much a page may store: Chromium always reports 10 GB more
 * than are used. So this module keeps one placeholder file that is as long as all outstanding
 * bytes. The browser writes none of them, but counts them against the quota, also for other
 * tabs. The placeholder shrinks as files arrive.
 */

import { randomId } from "../inbox.js";

const MIB = 2 ** 20;
/** The placeholder grows in steps of this size, in bytes, so that many small files rarely change it. */
const GROWTH = 4 * MIB;
/** Maximum number of bytes that the browser counts for a part in addition to its content. */
const OVERHEAD = 4096;
/** A folder that contains one folder for each tab, with the placeholder in it. Earlier versions use the same name. */
const FOLDER = "inbox-room";
const FILE = "opened";

const name = randomId();
/** Outstanding bytes by transfer. @type {Map<string, number>} */
const awaited = new Map();
/** The sum of awaited. */
let total = 0;
/** The length of the placeholder. */
let kept = 0;
/** Serializes changes of the placeholder. @type {Promise<unknown>} */
let turn = Promise.resolve();
/** Whether the browser granted persistent storage. @type {Promise<boolean> | undefined} */
let lasting;
let marked = false;

/**
 * Reserves space for a file.
 * @param {string} id of the transfer
 * @param {number} size
 * @param {number} parts
 * @returns {Promise<boolean>} whether there was enough
 */
export function takeSpace(id, size, parts) {
  // Without persistence, browsers may offer less space, and delete data when the disk is full.
  lasting ??= navigator.storage.persist?.().catch(() => false) ?? Promise.resolve(false);
  return inTurn(async () => {
    await mark();
    const need = size + OVERHEAD * (parts + 1);
    if (!(await grow(total + need)) && !((await lasting) && (await grow(total + need)))) return false;
    awaited.set(id, need);
    total += need;
    return true;
  });
}

/**
 * Writes a part into the space that was reserved for it.
 * @param {string} id of the transfer
 * @param {number} bytes
 * @param {() => Promise<void>} write
 */
export async function fillSpace(id, bytes, write) {
  try {
    await write();
  } catch (error) {
    if (!(error instanceof DOMException) || error.name !== "QuotaExceededError") throw error;
    await inTurn(() => resize(Math.max(0, total - bytes - OVERHEAD)));
    await write();
  }
  settle(id, bytes + OVERHEAD);
  shrink();
}

/** Releases the space that was reserved for a file. @param {string} id */
export function giveSpace(id) {
  settle(id, Infinity);
  awaited.delete(id);
  shrink();
}

/** Removes the placeholders of closed tabs. */
export async function removeLeftSpace() {
  const all = await folder();
  for await (const other of all.keys()) {
    if (other === name) continue;
    await navigator.locks.request(lockOf(other), { ifAvailable: true }, (lock) => lock && all.removeEntry(other, { recursive: true }).catch(() => {}));
  }
}

async function folder() {
  return (await navigator.storage.getDirectory()).getDirectoryHandle(FOLDER, { create: true });
}

/** @param {string} tab */
const lockOf = (tab) => `${FOLDER} ${tab}`;

/** Holds a lock that tells other tabs that this one is open. */
async function mark() {
  if (marked) return;
  marked = true;
  await new Promise((resolve) => {
    navigator.locks.request(lockOf(name), () => {
      resolve(undefined);
      return new Promise(() => {});
    });
  });
}

/** Shrinks the placeholder if much of it is unused. Where the disk is only memory, this costs as much as the whole file. */
function shrink() {
  if (kept - total > Math.max(2 * GROWTH, kept / 4) || (total === 0 && kept > 0)) inTurn(() => resize(total));
}

/** @param {string} id @param {number} bytes that have arrived or are no longer needed */
function settle(id, bytes) {
  const before = awaited.get(id);
  if (before === undefined) return;
  const after = before - bytes <= OVERHEAD ? 0 : before - bytes;
  awaited.set(id, after);
  total -= before - after;
}

/**
 * @param {number} size required length of the placeholder
 * @returns {Promise<boolean>} whether the placeholder is that long
 */
async function grow(size) {
  if (size <= kept) return true;
  if (await resize(Math.ceil(size / GROWTH) * GROWTH)) return true;
  if (await resize(size)) return true;
  await resize(total);
  return false;
}

/**
 * @param {number} size
 * @returns {Promise<boolean>} false if there is too little space; the placeholder is then removed
 */
async function resize(size) {
  if (size === kept) return true;
  const all = await folder();
  // Create a new file: the browser copies a changed one first, so that it counts twice.
  await all.removeEntry(name, { recursive: true }).catch(() => {});
  kept = 0;
  if (size === 0) return true;
  const own = await all.getDirectoryHandle(name, { create: true });
  const file = await (await own.getFileHandle(FILE, { create: true })).createWritable();
  try {
    await file.truncate(size);
    await file.close();
  } catch (error) {
    if (error instanceof DOMException && error.name === "QuotaExceededError") return false;
    throw error;
  }
  kept = size;
  return true;
}

/**
 * @template T
 * @param {() => Promise<T>} act
 * @returns {Promise<T>}
 */
function inTurn(act) {
  const done = turn.then(act);
  turn = done.catch((error) => console.warn("space on the disk could not be changed", error));
  return done;
}
