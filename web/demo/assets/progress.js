/** The progress of all transfers, in both directions together. */

import { Rate } from "./transfer.js";

/**
 * @typedef {import("./transfer.js").Transfer} Transfer
 *
 * @typedef {object} Total
 * @property {boolean} receives
 * @property {boolean} sends
 * @property {number} files
 * @property {number} done number of complete files
 * @property {number} size in bytes
 * @property {number} moved
 * @property {number} rate in bytes per second
 */

const goes = (/** @type {Transfer} */ { state }) => state === "going" || state === "checking";

export class Progress {
  /** The transfers since the last moment without a running one. @type {Set<Transfer>} */
  #run = new Set();
  #rate = new Rate();

  /** Adds a transfer whose state has changed, if it runs. @param {Transfer} one */
  note(one) {
    if (goes(one)) this.#run.add(one);
  }

  /**
   * @param {Transfer[]} incoming
   * @param {Transfer[]} outgoing
   * @returns {Total | undefined} undefined if no transfer runs
   */
  sum(incoming, outgoing) {
    const [receives, sends] = [incoming, outgoing].map((list) => list.some(goes));
    if (!receives && !sends) {
      this.#run.clear();
      this.#rate.forget();
      return undefined;
    }
    const total = { receives, sends, files: 0, done: 0, size: 0, moved: 0, rate: 0 };
    for (const { state, size, moved } of this.#run) {
      if (state === "cancelled") continue;
      total.files++;
      total.size += size;
      total.moved += state === "done" ? size : Math.min(size, moved);
      if (state === "done") total.done++;
    }
    this.#rate.note(total.moved);
    return { ...total, rate: this.#rate.now };
  }

  /** Excludes an interruption from the rate. */
  pause() {
    this.#rate.forget();
  }
}
