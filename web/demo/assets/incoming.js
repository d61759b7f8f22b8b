/** Files that this side receives. */

import { openParts, room } from "./parts.js";
import { MOST_FILES, Rate, WINDOW, digestOf, digestOfAll, isOver, lengthOf, partsOf, readHeader, readOffer } from "./transfer.js";

/** How often one part may come damaged. */
const FAULTS = 3;
/** What is reckoned with for copying a file to the downloads: milliseconds to begin, and bytes per second. */
const COPYING = 5000;
const COPIED = 20e6;

/**
 * @typedef {import("./transfer.js").Transfer & {
 *   parts?: import("./parts.js").Parts, next: number, faults: number, readable: boolean, saved?: number,
 * }} Received next: the part to come; faults: how often the next part was damaged; saved: when
 *
 * @typedef {{id: string, name: string, size: number, partSize: number, state: import("./transfer.js").State, why?: string}} Kept
 */

export class Incoming {
  /** @type {Received[]} */
  list = [];
  #say;
  #onchange;
  /** Parts are checked and written one after the other. */
  #turn = Promise.resolve();
  /** How many of them are in memory. */
  #waiting = 0;
  /** The part that arrives. @type {{one: Received, part: number, digest: string, bytes: Uint8Array<ArrayBuffer>, got: number} | undefined} */
  #coming;

  /**
   * @param {object} options
   * @param {(data: object) => boolean} options.say
   * @param {(transfer: Received) => void} options.onchange
   */
  constructor({ say, onchange }) {
    this.#say = say;
    this.#onchange = onchange;
  }

  /** @returns {Kept[]} what is to be kept */
  get kept() {
    return this.list.filter(({ state }) => state !== "offered").map(({ id, name, size, partSize, state, why }) => ({ id, name, size, partSize, state, why }));
  }

  /**
   * Takes up what was begun before this page was loaded again.
   * @param {Kept[]} kept
   */
  async restore(kept) {
    for (const { id, name, size, partSize, state, why } of kept) {
      const one = this.#add({ id, name, size, partSize, readable: true }, state);
      one.why = why;
      if (state === "cancelled") continue;
      one.parts = await openParts(id, size);
      one.had = one.next = await one.parts.complete(partsOf(one), (part) => lengthOf(one, part));
      one.moved = Math.min(size, one.had * partSize);
      // It was checked once already, but the browser may have taken the disk back.
      if (state === "done" && one.had < partsOf(one)) one.state = "damaged";
      else if (state === "checking") one.state = "going";
      this.#onchange(one);
    }
  }

  /** There is somebody to receive from. @param {RTCDataChannel} channel */
  attach(channel) {
    channel.binaryType = "arraybuffer";
    this.#coming = undefined;
    channel.onmessage = ({ data }) => {
      if (typeof data === "string") this.#header(data);
      else this.#bytes(new Uint8Array(data));
    };
  }

  detach() {
    this.#coming = undefined;
    for (const one of this.list) one.rate.forget();
    // What was offered and never begun is offered again.
    for (const one of this.list) if (one.state === "offered") this.#onchange(one);
  }

  /**
   * What the sender says.
   * @param {any} data unchecked
   */
  hear(data) {
    if (data.type === "offer") {
      this.#offered(data);
      return;
    }
    const one = this.list.find((one) => one.id === data.id);
    if (!one || isOver(one)) return;
    if (data.type === "cancel") {
      one.why = "theirs";
      this.#change(one, "cancelled");
    } else if (data.type === "end" && typeof data.digest === "string") {
      this.#queue(() => this.#check(one, data.digest));
    }
  }

  /** Begins to receive, or begins again. @param {Received} one */
  async accept(one) {
    if (one.state !== "offered" && one.state !== "damaged") return;
    const { parts } = one;
    one.parts = undefined;
    one.had = one.next = one.moved = one.faults = 0;
    this.#change(one, "going");
    await parts?.remove();
    const most = await room();
    if (most !== undefined && one.size > most) return this.#noRoom(one);
    const opened = await openParts(one.id, one.size);
    if (one.state !== "going") return opened.remove(); // it was cancelled meanwhile
    one.parts = opened;
    this.#change(one, "going");
    this.#want(one);
  }

  /** @param {Received} one */
  cancel(one) {
    const declines = one.state === "offered";
    one.why = declines ? "unwanted" : "ours";
    this.#change(one, "cancelled");
    this.#say({ type: "cancel", id: one.id, why: declines ? "declined" : undefined });
  }

  /** What is to be saved. @param {Received} one that is done @returns {Promise<Blob | undefined>} */
  async file(one) {
    one.saved = performance.now();
    return one.parts?.join(partsOf(one));
  }

  /** Forgets one that is over, and what is kept of it. @param {Received} one */
  remove(one) {
    this.list = this.list.filter((other) => other !== one);
    // Nobody tells when the browser has copied all to its downloads.
    const copied = (one.saved ?? -Infinity) + COPYING + (1000 * one.size) / COPIED;
    setTimeout(() => one.parts?.remove(), Math.max(0, copied - performance.now()));
  }

  /** @param {any} data */
  #offered(data) {
    const offer = readOffer(data);
    if (!offer) return;
    const one = this.list.find(({ id }) => id === offer.id);
    if (one === undefined) {
      if (this.list.length < MOST_FILES) this.#add(offer, "offered");
      else this.#say({ type: "cancel", id: offer.id });
      return;
    }
    one.readable = offer.readable;
    this.#onchange(one);
    // After what has come already: it may be complete by then.
    this.#queue(async () => {
      if (one.state === "done") this.#say({ type: "done", id: one.id });
      else if (one.state === "cancelled") this.#say({ type: "cancel", id: one.id });
      else if (one.state === "damaged") this.#say({ type: "failed", id: one.id });
      else if (one.parts) this.#want(one);
    });
  }

  /**
   * @param {{id: string, name: string, size: number, partSize: number, readable: boolean}} offer
   * @param {import("./transfer.js").State} state
   */
  #add({ id, name, size, partSize, readable }, state) {
    /** @type {Received} */
    const one = { id, name, size, partSize, readable, state, had: 0, moved: 0, next: 0, faults: 0, rate: new Rate() };
    this.list.push(one);
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

  /** Asks for what is still to come. @param {Received} one */
  #want(one) {
    if (isOver(one) || !one.readable) return;
    one.next = one.had;
    one.moved = Math.min(one.size, one.had * one.partSize);
    one.rate.forget();
    this.#say({ type: "want", id: one.id, part: one.had });
  }

  /** @param {string} text */
  #header(text) {
    this.#coming = undefined;
    const header = readHeader(text);
    const one = this.list.find(({ id }) => id === header?.id);
    // What is left of something cancelled, or what comes before a part that is wanted again.
    if (!header || !one?.parts || one.state !== "going" || header.part !== one.next) return;
    if (header.size !== lengthOf(one, header.part) || this.#waiting > WINDOW) return this.#fail(one);
    this.#coming = { one, part: header.part, digest: header.digest, bytes: new Uint8Array(header.size), got: 0 };
  }

  /** @param {Uint8Array} bytes */
  #bytes(bytes) {
    const coming = this.#coming;
    if (!coming) return;
    const { one, part, digest } = coming;
    if (coming.got + bytes.length > coming.bytes.length) return this.#fail(one);
    coming.bytes.set(bytes, coming.got);
    coming.got += bytes.length;
    one.moved = part * one.partSize + coming.got;
    one.rate.note(one.moved);
    if (coming.got < coming.bytes.length) return;
    this.#coming = undefined;
    one.next = part + 1;
    this.#waiting++;
    this.#queue(() => this.#take(one, part, digest, coming.bytes).finally(() => this.#waiting--));
  }

  /**
   * Writes a part that has come, if it is what was sent.
   * @param {Received} one
   * @param {number} part
   * @param {string} digest
   * @param {Uint8Array<ArrayBuffer>} bytes
   */
  async #take(one, part, digest, bytes) {
    // After one that was damaged, or once more in a new connection.
    if (part !== one.had || !one.parts || one.state !== "going") return;
    if ((await digestOf(bytes)) !== digest) {
      if (++one.faults > FAULTS) return this.#fail(one);
      one.next = part;
      this.#say({ type: "again", id: one.id, part });
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
    this.#say({ type: "have", id: one.id, part });
    this.#onchange(one);
  }

  /**
   * Reads everything again from where it is kept, and compares.
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
    this.#say({ type: "done", id: one.id });
    this.#change(one, "done");
  }

  /** @param {Received} one */
  #noRoom(one) {
    one.why = "no-room";
    this.#change(one, "cancelled");
    this.#say({ type: "cancel", id: one.id, why: "no-room" });
  }

  /** @param {Received} one */
  #fail(one) {
    this.#coming = undefined;
    this.#change(one, "damaged");
    this.#say({ type: "failed", id: one.id });
  }

  /** @param {() => Promise<void>} act */
  #queue(act) {
    this.#turn = this.#turn.then(act).catch((error) => console.warn("a file could not be handled", error));
  }
}
