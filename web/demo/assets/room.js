/**
 * Room on the disk for files that were accepted and have not come yet.
 *
 * A browser does not tell how much a page may store: Chromium always names 10 GB more
 * than are used. So this page takes the room that it needs beforehand, by one file as
 * long as everything that is still to come. No byte is written for it, but it counts. It
 * shrinks as files arrive. Other tabs see what it takes too.
 */

import { randomId } from "../inbox.js";

const MIB = 2 ** 20;
/** The file grows in steps of this size, so that a thousand small files change it seldom. */
const GROWTH = 4 * MIB;
/** What the browser counts for a part beside its bytes, at most. */
const OVERHEAD = 4096;
/** Holds a folder for each tab, with one file. */
const FOLDER = "inbox-room";
const FILE = "opened";

const name = randomId();
/** Bytes that are still to come, by transfer. @type {Map<string, number>} */
const awaited = new Map();
/** Their sum. */
let total = 0;
/** How long the file is. */
let kept = 0;
/** One change at a time. @type {Promise<unknown>} */
let turn = Promise.resolve();
/** Whether the browser keeps what is stored until the user removes it. @type {Promise<boolean> | undefined} */
let lasting;
let marked = false;

/**
 * Takes room for a file.
 * @param {string} id of the transfer
 * @param {number} size
 * @param {number} parts
 * @returns {Promise<boolean>} whether there was enough
 */
export function takeRoom(id, size, parts) {
  // The browser removes what is not persistent when its disk runs full, and may allow it less.
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
 * Writes a part into the room that was taken for it.
 * @param {string} id of the transfer
 * @param {number} bytes
 * @param {() => Promise<void>} write
 */
export async function fillRoom(id, bytes, write) {
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

/** Gives back what was taken for a file. @param {string} id */
export function giveRoom(id) {
  settle(id, Infinity);
  awaited.delete(id);
  shrink();
}

/** Removes the room that closed tabs have left. */
export async function removeLeftRoom() {
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

/** Tells other tabs that this one lives. */
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

/** Gives back what is not needed, seldom: where the disk is only memory, this costs as much as the whole file. */
function shrink() {
  if (kept - total > Math.max(2 * GROWTH, kept / 4) || (total === 0 && kept > 0)) inTurn(() => resize(total));
}

/** @param {string} id @param {number} bytes that are not awaited any more */
function settle(id, bytes) {
  const before = awaited.get(id);
  if (before === undefined) return;
  const after = before - bytes <= OVERHEAD ? 0 : before - bytes;
  awaited.set(id, after);
  total -= before - after;
}

/**
 * @param {number} size that the file has to have at least
 * @returns {Promise<boolean>} whether it has
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
 * @returns {Promise<boolean>} false if there is too little room; then none is kept
 */
async function resize(size) {
  if (size === kept) return true;
  const all = await folder();
  // A new one: what is changed is copied first, and counts twice.
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
  turn = done.catch((error) => console.warn("room on the disk could not be changed", error));
  return done;
}
