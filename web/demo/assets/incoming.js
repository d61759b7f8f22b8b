/** Receives files. */

import { openParts, reopenParts } from "./parts.js";
import { MOST_FILES, Rate, WINDOW, digestOf, digestOfAll, isOver, lengthOf, partsOf, readHeader, readOffer } from "./transfer.js";

/** How often one part may arrive damaged before the transfer fails. */
const MAX_DAMAGED = 3;
/** How many files each person can offer, however many others have offered. */
const ALWAYS_FITTING = 500;
/** Estimates for copying a file to the downloads: a delay in milliseconds, and a rate in bytes per second. */
const COPY_DELAY = 5000;
const COPY_RATE = 20e6;

/**
 * The destination of a complete file.
 * @typedef {object} Target
 * @property {"downloads" | "archive" | "directory"} kind
 * @property {string} [batch] the same for all files that go into one archive
 * @property {string} [name] of the archive or the directory
 * @property {FileSystemDirectoryHandle} [directory] lost in a reload
 *
 * @typedef {import("./transfer.js").Transfer & {
 *   parts?: import("./parts.js").Parts, next: number, faults: number, readable: boolean, copied?: number,
 *   target?: Target, saving?: import("./saving.js").State, place?: string,
 * }} Received next: the part expected next; faults: how often it was damaged; copied: when the
 *   browser got the file for its downloads; saving, place: the stage of saving, and the destination
 *
 * @typedef {Omit<import("./transfer.js").Offer, "readable"> & {
 *   state: import("./transfer.js").State, why?: string,
 *   target?: Target, saving?: import("./saving.js").State, place?: string,
 * }} Kept
 *
 * The files from other people in the same tab, with which these share one list and one disk.
 * @typedef {object} Others
 * @property {() => number} count
 * @property {(id: string) => boolean} has whether someone else offered a file with that id
 */

export class Incoming {
  /** @type {Received[]} */
  list = [];
  /** The same by their ids. @type {Map<unknown, Received>} */
  #byId = new Map();
  #send;
  #onchange;
  #others;
  #peer;
  /** Serializes checking and writing parts. */
  #turn = Promise.resolve();
  /** Serializes reserving room, so that each file sees the room that earlier ones take. */
  #admission = Promise.resolve();
  /** Number of parts in memory. */
  #waiting = 0;
  /** The part that is arriving. @type {{one: Received, part: number, digest: string, bytes: Uint8Array<ArrayBuffer>, got: number} | undefined} */
  #current;

  /**
   * @param {object} options
   * @param {(data: object) => boolean} options.send sends a message to the other side, if connected
   * @param {(transfer: Received) => void} options.onchange
   * @param {Others} options.others
   * @param {string} options.peer the sender's id; empty if there is only one
   */
  constructor({ send, onchange, others, peer }) {
    this.#send = send;
    this.#onchange = onchange;
    this.#others = others;
    this.#peer = peer;
  }

  /** @returns {Kept[]} the state to keep for a reload */
  get kept() {
    return this.list.filter(({ state }) => state !== "offered").map(({ id, name, size, partSize, modified, folder, state, why, target, saving, place }) =>
      ({ id, name, size, partSize, modified, folder, state, why, target: target && { ...target, directory: undefined }, saving, place }));
  }

  /**
   * Takes up what was begun before this page was loaded again.
   * @param {Kept[]} kept
   */
  async restore(kept) {
    for (const { state, why, target, saving, place, ...offer } of kept) {
      const one = this.#add({ ...offer, readable: true }, state);
      Object.assign(one, { why, target, saving, place });
      if (state === "cancelled" || saving === "written") continue;
      const { parts, had, fits } = await reopenParts(one.id, partsOf(one), (part) => lengthOf(one, part));
      one.parts = parts;
      one.had = one.next = had;
      one.moved = Math.min(one.size, one.had * one.partSize);
      // It was checked once already, but the browser may have taken the disk back.
      if (state === "done" && one.had < partsOf(one)) one.state = "damaged";
      else if (state === "checking") one.state = "going";
      this.#onchange(one);
      if (one.state === "going" && !fits) this.#noRoom(one);
    }
  }

  /** Reports whether the person offered a file with that id. @param {string} id */
  has(id) {
    return this.#byId.has(id);
  }

  /** Starts receiving over a channel. @param {RTCDataChannel} channel */
  attach(channel) {
    channel.binaryType = "arraybuffer";
    this.#current = undefined;
    channel.onmessage = ({ data }) => {
      if (typeof data === "string") this.#header(data);
      else this.#bytes(new Uint8Array(data));
    };
  }

  detach() {
    this.#current = undefined;
    for (const one of this.list) one.rate.forget();
    // Offers that nobody accepted will be repeated.
    for (const one of this.list) if (one.state === "offered") this.#onchange(one);
  }

  /**
   * Handles a message from the sender.
   * @param {any} data unchecked
   */
  handle(data) {
    if (data.type === "offer") {
      this.#offered(data);
      return;
    }
    const one = this.#byId.get(data.id);
    if (!one || isOver(one)) return;
    if (data.type === "cancel") {
      one.why = data.why === "full" ? "full" : "theirs";
      this.#change(one, "cancelled");
    } else if (data.type === "end" && typeof data.digest === "string") {
      this.#queue(() => this.#check(one, data.digest));
    }
  }

  /**
   * Starts receiving, or restarts after damage.
   * @param {Received} one
   * @param {Target} [target] by default the previous one
   */
  accept(one, target) {
    if (one.state !== "offered" && one.state !== "damaged") return;
    const { parts } = one;
    one.parts = undefined;
    one.had = one.next = one.moved = one.faults = 0;
    one.target = target ?? one.target;
    one.saving = undefined;
    this.#change(one, "going");
    this.#admission = this.#admission.then(() => this.#admit(one, parts));
  }

  /**
   * Requests a file if there is room for it.
   * @param {Received} one
   * @param {import("./parts.js").Parts | undefined} before the damaged parts of an earlier attempt
   */
  async #admit(one, before) {
    await before?.remove();
    if (one.state !== "going") return; // it was cancelled meanwhile
    try {
      const opened = await openParts(one.id, one.size, partsOf(one));
      if (!opened) return this.#noRoom(one);
      if (one.state !== "going") return await opened.remove();
      one.parts = opened;
    } catch (error) {
      console.warn("a file could not be begun", error);
      return this.#noRoom(one);
    }
    this.#want(one);
  }

  /** @param {Received} one */
  cancel(one) {
    const declines = one.state === "offered";
    one.why = declines ? "unwanted" : "ours";
    this.#change(one, "cancelled");
    this.#send({ type: "cancel", id: one.id, why: declines ? "declined" : undefined });
  }

  /** Returns the content of a complete file. @param {Received} one @returns {Promise<Blob | undefined>} */
  async file(one) {
    one.copied = performance.now();
    return one.parts?.join();
  }

  /** Frees the room of a file that was saved. @param {Received} one */
  async release(one) {
    const { parts } = one;
    one.parts = undefined;
    await parts?.remove();
  }

  /** Ends what has not arrived, because this person left. */
  leave() {
    for (const one of this.list) {
      if (isOver(one)) continue;
      one.why = "gone";
      this.#change(one, "cancelled");
    }
  }

  /** Removes an ended transfer and its parts. @param {Received} one */
  remove(one) {
    this.list = this.list.filter((other) => other !== one);
    this.#byId.delete(one.id);
    // The page does not learn when the browser has copied the file to its downloads.
    const copied = (one.copied ?? -Infinity) + COPY_DELAY + (1000 * one.size) / COPY_RATE;
    setTimeout(() => one.parts?.remove(), Math.max(0, copied - performance.now()));
  }

  /** @param {any} data */
  #offered(data) {
    const offer = readOffer(data);
    if (!offer) return;
    // Everyone who is offered a folder knows its id, and could otherwise add files to it.
    if (offer.folder && this.#peer !== "") offer.folder.id = `${this.#peer}:${offer.folder.id}`;
    const one = this.#byId.get(offer.id);
    if (one === undefined) {
      if (this.#others.has(offer.id)) return;
      const { folder: of } = offer;
      const rest = of ? this.list.filter(({ folder }) => folder?.id === of.id) : [];
      const all = this.list.length + this.#others.count();
      if (all < MOST_FILES || this.list.length < ALWAYS_FITTING) {
        // All files of a folder have to describe it in the same way.
        const [{ folder } = offer] = rest;
        if (folder?.path[0] === offer.folder?.path[0] && folder?.files === offer.folder?.files) this.#add(offer, "offered");
        return;
      }
      // An incomplete folder is useless: cancel all of it.
      for (const { id } of [offer, ...rest.filter((one) => !isOver(one))]) {
        this.handle({ type: "cancel", id, why: "full" });
        this.#send({ type: "cancel", id, why: "full" });
      }
      return;
    }
    one.readable = offer.readable;
    this.#onchange(one);
    // Queue this behind parts that have arrived: they may complete the file.
    this.#queue(async () => {
      if (one.state === "done") this.#send({ type: "done", id: one.id });
      else if (one.state === "cancelled") this.#send({ type: "cancel", id: one.id });
      else if (one.state === "damaged") this.#send({ type: "failed", id: one.id });
      else if (one.parts) this.#want(one);
    });
  }

  /**
   * @param {import("./transfer.js").Offer} offer
   * @param {import("./transfer.js").State} state
   */
  #add(offer, state) {
    /** @type {Received} */
    const one = { ...offer, state, had: 0, moved: 0, next: 0, faults: 0, rate: new Rate() };
    this.list.push(one);
    this.#byId.set(one.id, one);
    this.#onchange(one);
    return one;
  }

  /**
   * @param {Received} one
   * @param {import("./transfer.js").State} state
   */
  #change(one, state) {
    one.state = state;
    if (state === "cancelled") {
      const { parts } = one;
      one.parts = undefined;
      this.#queue(async () => parts?.remove());
    }
    this.#onchange(one);
  }

  /** Requests the missing parts. @param {Received} one */
  #want(one) {
    if (isOver(one) || !one.readable) return;
    one.next = one.had;
    one.moved = Math.min(one.size, one.had * one.partSize);
    one.rate.forget();
    this.#send({ type: "want", id: one.id, part: one.had });
  }

  /** @param {string} text */
  #header(text) {
    this.#current = undefined;
    const header = readHeader(text);
    const one = this.#byId.get(header?.id);
    // A part of a cancelled file, or one sent before the requested part.
    if (!header || !one?.parts || one.state !== "going" || header.part !== one.next) return;
    if (header.size !== lengthOf(one, header.part) || this.#waiting > WINDOW) return this.#fail(one);
    this.#current = { one, part: header.part, digest: header.digest, bytes: new Uint8Array(header.size), got: 0 };
  }

  /** @param {Uint8Array} bytes */
  #bytes(bytes) {
    const current = this.#current;
    if (!current) return;
    const { one, part, digest } = current;
    if (current.got + bytes.length > current.bytes.length) return this.#fail(one);
    current.bytes.set(bytes, current.got);
    current.got += bytes.length;
    one.moved = part * one.partSize + current.got;
    one.rate.note(one.moved);
    if (current.got < current.bytes.length) return;
    this.#current = undefined;
    one.next = part + 1;
    this.#waiting++;
    this.#queue(() => this.#take(one, part, digest, current.bytes).finally(() => this.#waiting--));
  }

  /**
   * Writes a part if its digest is right.
   * @param {Received} one
   * @param {number} part
   * @param {string} digest
   * @param {Uint8Array<ArrayBuffer>} bytes
   */
  async #take(one, part, digest, bytes) {
    // A part behind a damaged one, or a repeated one in a new connection.
    if (part !== one.had || !one.parts || one.state !== "going") return;
    if ((await digestOf(bytes)) !== digest) {
      if (++one.faults > MAX_DAMAGED) return this.#fail(one);
      one.next = part;
      this.#send({ type: "again", id: one.id, part });
      return;
    }
    try {
      await one.parts.write(part, bytes);
    } catch (error) {
      if (isOver(one)) return;
      console.warn("a part could not be written", error);
      return this.#noRoom(one);
    }
    if (one.state !== "going") return;
    one.faults = 0;
    one.had = part + 1;
    this.#send({ type: "have", id: one.id, part });
    this.#onchange(one);
  }

  /**
   * Reads the stored file again and compares its digest.
   * @param {Received} one
   * @param {string} digest
   */
  async #check(one, digest) {
    const { parts } = one;
    if (!parts || one.state !== "going" || one.had < partsOf(one)) return;
    this.#change(one, "checking");
    /** @type {string[]} */
    const digests = [];
    for (let part = 0; part < partsOf(one); part++) {
      digests.push(await parts.digest(part).catch(() => ""));
      if (one.state !== "checking") return;
    }
    if ((await digestOfAll(digests)) !== digest) return this.#fail(one);
    this.#send({ type: "done", id: one.id });
    this.#change(one, "done");
  }

  /** @param {Received} one */
  #noRoom(one) {
    one.why = "no-room";
    this.#change(one, "cancelled");
    this.#send({ type: "cancel", id: one.id, why: "no-room" });
  }

  /** @param {Received} one */
  #fail(one) {
    this.#current = undefined;
    this.#change(one, "damaged");
    this.#send({ type: "failed", id: one.id });
  }

  /** @param {() => Promise<void>} act */
  #queue(act) {
    this.#turn = this.#turn.then(act).catch((error) => console.warn("a file could not be handled", error));
  }
}
