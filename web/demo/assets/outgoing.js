/** Sends files. */

import { randomId } from "../inbox.js";
import { fileName } from "./text.js";
import { MOST_FILES, Rate, WINDOW, digestOf, digestOfAll, isOver, lengthOf, partSizeOf, partsOf } from "./transfer.js";

const CHUNK = 64 * 1024;
/** Bounds of the channel's buffer, in bytes: enough that it never runs dry. */
const MAX_BUFFERED = 2 ** 20;
const LOW_BUFFERED = 2 ** 18;

/**
 * @typedef {import("./transfer.js").Transfer & {
 *   file?: File, share?: ShareOf, digests: string[], wanted: boolean, at: number, turn: number,
 * }} Sent share: what it belongs to if it is offered to several people; at: the next part to send; turn: changes at each
 *   start, so that earlier work stops
 *
 * @typedef {{id: string, only: boolean}} ShareOf id: the same for each person who is offered the file or the folder;
 *   only: whether it is for one person only
 *
 * @typedef {Omit<import("./transfer.js").Offer, "readable"> & {state: import("./transfer.js").State, why?: string, share?: ShareOf}} Kept
 *
 * @typedef {{file: File, folder?: import("./transfer.js").Folder, share?: ShareOf}} Choice a chosen file, and the folder that contains it
 */

/** Represents a folder without files. */
const NOTHING = new File([], "");

export class Outgoing {
  /** @type {Sent[]} */
  list = [];
  #send;
  #onchange;
  #detached = new AbortController();
  #wake = () => {};

  /**
   * @param {object} options
   * @param {(data: object) => boolean} options.send sends a message to the other side, if connected
   * @param {(transfer: Sent) => void} options.onchange
   */
  constructor({ send, onchange }) {
    this.#send = send;
    this.#onchange = onchange;
  }

  /**
   * Restores the transfers from before a reload.
   * @param {Kept[]} kept
   */
  restore(kept) {
    for (const one of kept) {
      const over = one.state === "done" || one.state === "cancelled";
      if (one.folder?.empty && !over) this.#add(one, NOTHING, "offered");
      else this.#add(one, undefined, over ? one.state : "unreadable");
    }
  }

  /** @returns {Kept[]} the state to keep for a reload */
  get kept() {
    return this.list.map(({ id, name, size, partSize, modified, folder, share, state, why }) => ({ id, name, size, partSize, modified, folder, share, state, why }));
  }

  /**
   * Offers files, and each folder as a whole. Files that had become unreadable continue.
   * @param {Choice[]} choices
   * @returns {number} the number of files beyond the limit
   */
  offer(choices) {
    /** @type {Set<Sent | undefined>} */
    const taken = new Set();
    const known = choices.map((choice) => {
      const one = this.#unreadable(choice, taken);
      taken.add(one);
      return one;
    });
    // A folder that is chosen again continues and is not offered twice.
    const again = new Set(choices.flatMap(({ folder }, i) => (folder && known[i] ? [folder.id] : [])));
    // Nor is a file that this person was offered together with others.
    const shared = new Set(this.list.map(({ share }) => share?.id));
    let refused = 0;
    /** Whether a folder fits, by its id. @type {Map<string, boolean>} */
    const fits = new Map();
    for (const [i, { file, folder, share }] of choices.entries()) {
      const one = known[i];
      if (one) {
        one.file = file;
        this.#change(one, "offered");
        this.#offer(one);
        continue;
      }
      if ((folder && again.has(folder.id)) || (share && shared.has(share.id))) continue;
      if (folder && !fits.has(folder.id)) fits.set(folder.id, this.list.length + folder.files <= MOST_FILES);
      if (folder ? !fits.get(folder.id) : this.list.length >= MOST_FILES) {
        refused++;
        continue;
      }
      const { size, lastModified: modified } = file;
      this.#offer(this.#add({ id: randomId(), name: nameOf(file, folder), size, partSize: partSizeOf(size), modified, folder, share }, file, "offered"));
    }
    return refused;
  }

  /**
   * @param {Choice} choice
   * @param {Set<Sent | undefined>} taken by other choices
   * @returns {Sent | undefined} the same file from before a reload
   */
  #unreadable({ file, folder }, taken) {
    const name = nameOf(file, folder);
    return this.list.find((one) => one.file === undefined && one.state === "unreadable" && one.name === name && one.size === file.size &&
      one.modified === file.lastModified && !taken.has(one) && one.folder?.path.join("/") === folder?.path.join("/"));
  }

  /** Starts sending over a channel. @param {RTCDataChannel} channel open */
  attach(channel) {
    this.detach();
    this.#detached = new AbortController();
    channel.bufferedAmountLowThreshold = LOW_BUFFERED;
    for (const one of this.list) {
      if (!isOver(one)) this.#offer(one);
      // The cancellation may not have arrived.
      else if (one.state === "cancelled" && ["ours", "gone"].includes(one.why ?? "")) this.#send({ type: "cancel", id: one.id });
    }
    this.#run(channel, this.#detached.signal);
  }

  detach() {
    this.#detached.abort();
    for (const one of this.list) {
      one.wanted = false;
      one.turn++;
      one.rate.forget();
    }
    this.#wake();
  }

  /**
   * Handles a message from the receiver.
   * @param {any} data unchecked
   */
  handle({ type, id, part, why }) {
    const one = this.list.find((one) => one.id === id);
    if (!one || one.state === "cancelled") return;
    const inRange = (/** @type {number} */ least, /** @type {number} */ most) => Number.isSafeInteger(part) && part >= least && part <= most;
    switch (type) {
      case "want":
        if (inRange(0, partsOf(one)) && one.file) this.#begin(one, part);
        break;
      case "have":
        if (!one.wanted || !inRange(one.had, one.at - 1)) return;
        one.had = part + 1;
        this.#onchange(one);
        this.#end(one);
        break;
      case "again":
        if (!one.wanted || !inRange(one.had, one.at - 1)) return;
        one.at = part;
        one.moved = part * one.partSize;
        one.rate.forget();
        break;
      case "done":
        one.had = partsOf(one);
        one.moved = one.size;
        this.#change(one, "done");
        break;
      case "failed":
        one.wanted = false;
        this.#change(one, "damaged");
        break;
      case "cancel":
        one.why = ["no-room", "declined", "full"].includes(why) ? why : "theirs";
        this.#change(one, "cancelled");
        break;
    }
    this.#wake();
  }

  /** @param {Sent} one */
  cancel(one) {
    one.why = "ours";
    this.#change(one, "cancelled");
    this.#send({ type: "cancel", id: one.id });
    this.#wake();
  }

  /** Ends what has not been sent, because this person left. */
  leave() {
    for (const one of this.list) {
      if (isOver(one)) continue;
      one.why = "gone";
      this.#change(one, "cancelled");
    }
  }

  /** Removes an ended transfer. @param {Sent} one */
  remove(one) {
    this.list = this.list.filter((other) => other !== one);
  }

  /**
   * @param {Omit<Kept, "state">} kept
   * @param {File | undefined} file
   * @param {import("./transfer.js").State} state
   */
  #add({ id, name, size, partSize, modified, folder, share, why }, file, state) {
    /** @type {Sent} */
    const one = { id, name, size, partSize, modified, folder, share, file, state, why, had: 0, moved: 0, digests: [], wanted: false, at: 0, turn: 0, rate: new Rate() };
    this.list.push(one);
    this.#onchange(one);
    return one;
  }

  /** @param {Sent} one */
  #offer({ id, name, size, partSize, modified, folder, file }) {
    this.#send({ type: "offer", id, name, size, partSize, modified, folder, readable: file !== undefined });
  }

  /**
   * @param {Sent} one
   * @param {import("./transfer.js").State} state
   */
  #change(one, state) {
    one.state = state;
    if (isOver(one) || state === "unreadable") {
      one.wanted = false;
      one.turn++;
    }
    this.#onchange(one);
  }

  /**
   * Starts sending from a part on.
   * @param {Sent} one
   * @param {number} part
   */
  async #begin(one, part) {
    const turn = ++one.turn;
    one.at = one.had = part;
    one.moved = Math.min(one.size, part * one.partSize);
    one.rate.forget();
    this.#change(one, "going");
    // The final digest needs the digests of all parts, which a reload has lost.
    for (let i = 0; i < part; i++) {
      if (one.digests[i] !== undefined) continue;
      const bytes = await this.#read(one, i);
      if (bytes === undefined || one.turn !== turn) return;
      one.digests[i] = await digestOf(bytes);
    }
    if (one.turn !== turn) return;
    one.wanted = true;
    this.#end(one);
    this.#wake();
  }

  /** Sends the final digest once the receiver has all parts. @param {Sent} one */
  async #end(one) {
    if (one.had < partsOf(one) || !one.wanted) return;
    one.wanted = false;
    this.#change(one, "checking");
    this.#send({ type: "end", id: one.id, digest: await digestOfAll(one.digests) });
  }

  /**
   * @param {RTCDataChannel} channel
   * @param {AbortSignal} signal
   */
  async #run(channel, signal) {
    while (!signal.aborted) {
      const wanted = this.list.filter((one) => one.wanted);
      const under = wanted.reduce((sum, one) => sum + one.at - one.had, 0);
      const next = wanted.find((one) => one.at < partsOf(one));
      if (next && under < WINDOW) await this.#sendPart(next, channel, signal);
      else await new Promise((resolve) => (this.#wake = () => resolve(undefined)));
    }
  }

  /**
   * @param {Sent} one
   * @param {RTCDataChannel} channel
   * @param {AbortSignal} signal
   */
  async #sendPart(one, channel, signal) {
    const { turn, at: part } = one;
    const bytes = await this.#read(one, part);
    if (bytes === undefined) return;
    const digest = await digestOf(bytes);
    const stale = () => signal.aborted || one.turn !== turn;
    if (stale() || one.at !== part) return;
    one.digests[part] = digest;
    one.at++;
    try {
      channel.send(JSON.stringify({ id: one.id, part, size: bytes.byteLength, digest }));
      for (let from = 0; from < bytes.byteLength; from += CHUNK) {
        await hasRoom(channel, signal);
        if (stale()) return;
        channel.send(bytes.subarray(from, from + CHUNK));
        // Bytes in the channel's buffer have not been transferred. Some may belong to another file.
        one.moved = Math.max(one.moved, part * one.partSize + from + CHUNK - channel.bufferedAmount);
        one.rate.note(one.moved);
      }
    } catch (error) {
      if (!stale() && channel.readyState === "open") throw error;
    }
  }

  /**
   * @param {Sent} one
   * @param {number} part
   * @returns {Promise<Uint8Array<ArrayBuffer> | undefined>} undefined if the file is gone or has changed
   */
  async #read(one, part) {
    const { file, partSize } = one;
    const from = part * partSize;
    try {
      const bytes = await /** @type {File} */ (file).slice(from, from + lengthOf(one, part)).arrayBuffer();
      if (bytes.byteLength === lengthOf(one, part)) return new Uint8Array(bytes);
    } catch {
      // unreadable: treated like a changed length
    }
    if (isOver(one) || one.file !== file) return undefined;
    one.file = undefined;
    one.digests = [];
    this.#change(one, "unreadable");
    this.#offer(one);
    return undefined;
  }
}

/** Returns the name that a file is offered under. @param {File} file @param {import("./transfer.js").Folder | undefined} folder */
export function nameOf(file, folder) {
  return folder?.empty ? "" : fileName(file.name, { hidden: folder !== undefined });
}

/**
 * Waits until the channel's buffer has room.
 * @param {RTCDataChannel} channel
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function hasRoom(channel, signal) {
  if (channel.bufferedAmount < MAX_BUFFERED || signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const end = () => {
      channel.removeEventListener("bufferedamountlow", end);
      channel.removeEventListener("close", end);
      signal.removeEventListener("abort", end);
      resolve();
    };
    channel.addEventListener("bufferedamountlow", end);
    channel.addEventListener("close", end);
    signal.addEventListener("abort", end);
  });
}
