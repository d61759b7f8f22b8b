/** The files that this tab sends to one person, and receives from them. */

import { itemsOf } from "./folder.js";
import { Incoming } from "./incoming.js";
import { Outgoing } from "./outgoing.js";

/**
 * The connection to the person.
 * @typedef {object} Line
 * @property {(data: object) => boolean} send sends a message, if connected
 * @property {() => boolean} isConnected whether files can be sent now
 */

export class Exchange {
  /** The person's name; empty while it is unknown. */
  name = "";
  /** Whether the person is in the room. */
  here = false;
  /** Whether the person entered the room on the call page, which takes no files. */
  elsewhere = false;
  /** Whether it was this person who left the room. */
  weLeft = false;
  /** Whether the two were ever connected. */
  met = false;
  /** @type {Record<"incoming" | "outgoing", import("./folder.js").Views>} */
  #views = { incoming: new Map(), outgoing: new Map() };
  /** @type {Line} */
  #line = { send: () => false, isConnected: () => false };

  /**
   * @param {string} peer the person's id; empty for the one whom a link for two leads to
   * @param {object} options
   * @param {(direction: "incoming" | "outgoing", one: any, exchange: Exchange) => void} options.onchange
   * @param {import("./incoming.js").Others} options.others
   */
  constructor(peer, { onchange, others }) {
    this.peer = peer;
    const send = (/** @type {object} */ data) => this.#line.send(data);
    this.outgoing = new Outgoing({ send, onchange: (one) => onchange("outgoing", one, this) });
    this.incoming = new Incoming({ send, onchange: (one) => onchange("incoming", one, this), others, peer });
  }

  /** @param {Line} line */
  connect(line) {
    this.#line = line;
  }

  get connected() {
    return this.#line.isConnected();
  }

  /**
   * Exchanges files over a channel from when it opens.
   * @param {RTCDataChannel} channel
   * @param {() => boolean} isCurrent whether the channel still counts when it opens
   * @param {() => void} onopen called before the first offer
   */
  attach(channel, isCurrent, onopen) {
    this.incoming.attach(channel);
    channel.onopen = () => {
      if (!isCurrent()) return;
      this.met = true;
      onopen();
      this.outgoing.attach(channel);
    };
  }

  /**
   * @param {"incoming" | "outgoing"} direction
   * @returns {any[]} the files and the folders
   */
  items(direction) {
    return itemsOf(this.#views[direction], this[direction].list);
  }

  /** Called when the channel has closed. */
  detach() {
    this.outgoing.detach();
    this.incoming.detach();
  }

  /** Handles a message from the person. @param {any} data unchecked */
  handle(data) {
    this.outgoing.handle(data);
    this.incoming.handle(data);
  }
}
