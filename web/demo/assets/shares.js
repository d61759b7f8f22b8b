/**
 * The files and folders that this tab offers to its room. Each person gets a separate transfer,
 * so that one who declines or leaves does not hold up the others. A share stays on offer to
 * those who enter later, until it is cancelled or removed.
 */

import { randomId } from "../inbox.js";
import { FolderView } from "./folder.js";
import { nameOf } from "./outgoing.js";
import { MOST_FILES, isOver } from "./transfer.js";

/**
 * @typedef {import("./exchange.js").Exchange} Exchange
 * @typedef {import("./outgoing.js").Choice} Choice
 *
 * @typedef {{peer: string, name: string}} Aim the only person who gets a share
 *
 * @typedef {object} Recipient
 * @property {Exchange} exchange
 * @property {any} item the file or the folder, as it is sent to this person
 */

/** A file, or a folder with all of its files, as one row shows it. */
export class Share {
  /** The files; none after a reload, until the person chooses them again. @type {Choice[]} */
  choices = [];
  /** @type {Recipient[]} */
  people = [];
  /** @type {import("./transfer.js").State} */
  state = "offered";
  /** Why this person ended it, as a name in files-words.js. @type {string | undefined} */
  why;
  /** Average number of bytes that those who accepted it have received. */
  moved = 0;
  size = 0;
  /** The sum of the rates in bytes per second, and how long the slowest takes, in seconds. */
  rate = { now: 0, left: 0 };

  /**
   * @param {string} id
   * @param {string} name
   * @param {number | undefined} files number of files of a folder
   * @param {Aim | undefined} to undefined for everyone
   */
  constructor(id, name, files, to) {
    this.id = id;
    this.name = name;
    this.files = files;
    this.to = to;
  }

  /** Computes the properties from the people's transfers. @param {Recipient[]} people */
  update(people) {
    this.people = people;
    if (this.choices.length > 0) this.size = this.choices.reduce((sum, { file }) => sum + file.size, 0);
    else if (people.length > 0) this.size = people[0].item.size;
    const open = people.filter(({ item, exchange }) => !isOver(item) && exchange.here && !exchange.elsewhere);
    const states = new Set(open.map(({ item }) => item.state));
    const ended = people.filter(({ item }) => isOver(item));
    const lacks = this.choices.length === 0 && ended.length < people.length;
    this.state = states.has("going") || states.has("checking") ? "going"
      : states.has("damaged") ? "damaged"
      : this.why === undefined && (lacks || states.has("unreadable")) ? "unreadable"
      : this.why !== undefined || (open.length === 0 && ended.length > 0) ? (ended.some(({ item }) => item.state === "done") ? "done" : "cancelled")
      : "offered";
    const accepted = people.filter(({ item, exchange }) => item.state === "done" || (exchange.here && ["going", "checking"].includes(item.state)));
    this.moved = accepted.reduce((sum, { item }) => sum + (item.state === "done" ? item.size : Math.min(item.size, item.moved)), 0) / Math.max(1, accepted.length);
    const going = accepted.filter(({ item, exchange }) => item.state === "going" && exchange.connected);
    this.rate = {
      now: going.reduce((sum, { item }) => sum + item.rate.now, 0),
      left: going.reduce((most, { item }) => Math.max(most, item.rate.now > 0 ? (item.size - item.moved) / item.rate.now : 0), 0),
    };
  }
}

export class Shares {
  /** @type {Map<string, Share>} */
  #all = new Map();
  #exchanges;

  /** @param {() => Exchange[]} exchanges with the people who are, or were, in the room */
  constructor(exchanges) {
    this.#exchanges = exchanges;
  }

  /** Restores the shares from the transfers before a reload. */
  restore() {
    for (const { exchange, item } of this.#items()) {
      const { id, only } = shareOf(item) ?? {};
      if (id === undefined || this.#all.has(id)) continue;
      this.#all.set(id, new Share(id, item.name, item instanceof FolderView ? item.files : undefined, only ? { peer: exchange.peer, name: exchange.name } : undefined));
    }
  }

  /**
   * Offers files, and each folder as a whole.
   * @param {Choice[]} choices
   * @param {Aim} [to] by default everyone, also those who enter later
   * @returns {number} the number of files beyond the limit
   */
  offer(choices, to) {
    let refused = 0;
    let count = [...this.#all.values()].reduce((sum, { files = 1 }) => sum + files, 0);
    for (const [id, group] of this.#group(choices)) {
      let share = this.#all.get(id);
      if (!share) {
        if (count + group.length > MOST_FILES) {
          refused += group.length;
          continue;
        }
        count += group.length;
        const [{ file, folder }] = group;
        share = new Share(id, folder?.path[0] ?? nameOf(file, folder), folder?.files, to);
        this.#all.set(id, share);
      }
      share.choices = group.map((choice) => ({ ...choice, share: { id, only: share.to !== undefined } }));
      for (const exchange of this.#exchanges()) refused += this.#offerTo(share, exchange);
    }
    return refused;
  }

  /** Offers all remaining files to a person who has just entered. @param {Exchange} exchange @returns {number} files beyond the limit */
  welcome(exchange) {
    return [...this.#all.values()].reduce((sum, share) => sum + this.#offerTo(share, exchange), 0);
  }

  /** @param {Share} share @param {Exchange} exchange */
  #offerTo(share, exchange) {
    if (share.why !== undefined || !exchange.here || share.choices.length === 0 || (share.to ?? exchange).peer !== exchange.peer) return 0;
    return exchange.outgoing.offer(share.choices);
  }

  /** Cancels a share for everyone who has not received it. @param {Share} share */
  cancel(share) {
    share.why = "ours";
    share.choices = [];
    this.#each(share, (one, { outgoing }) => isOver(one) || outgoing.cancel(one));
  }

  /** Removes a share that has ended. It is then not on offer any more. @param {Share} share */
  remove(share) {
    this.cancel(share);
    this.#each(share, (one, { outgoing }) => outgoing.remove(one));
    this.#all.delete(share.id);
  }

  /** Ends everything, because this person left. */
  leave() {
    for (const { outgoing } of this.#exchanges()) outgoing.leave();
    for (const share of this.#all.values()) {
      share.why ??= "gone";
      share.choices = [];
    }
  }

  /** @returns {Share[]} the rows, in the order in which they were offered */
  rows() {
    /** @type {Map<string, Recipient[]>} */
    const people = new Map();
    for (const recipient of this.#items()) {
      const id = shareOf(recipient.item)?.id ?? "";
      const same = people.get(id) ?? [];
      same.push(recipient);
      people.set(id, same);
    }
    const rows = [...this.#all.values()];
    for (const share of rows) share.update(people.get(share.id) ?? []);
    return rows;
  }

  /** @returns {Recipient[]} */
  #items() {
    return this.#exchanges().flatMap((exchange) => exchange.items("outgoing").map((item) => ({ exchange, item })));
  }

  /** @param {Share} share @param {(one: import("./outgoing.js").Sent, exchange: Exchange) => void} act */
  #each(share, act) {
    for (const exchange of this.#exchanges()) for (const one of exchange.outgoing.list) if (one.share?.id === share.id) act(one, exchange);
  }

  /**
   * Groups files by the share that they belong to. A file that became unreadable, for example
   * because this page was reloaded, belongs to its former share.
   * @param {Choice[]} choices
   * @returns {Map<string, Choice[]>} by the id of the share
   */
  #group(choices) {
    /** @type {Map<string, import("./outgoing.js").Sent>} */
    const unreadable = new Map();
    for (const { outgoing } of this.#exchanges()) {
      for (const one of outgoing.list) if (one.state === "unreadable" && one.share) unreadable.set(sign(one.folder, one.name, one.size, one.modified), one);
    }
    /** Former shares and folders, by the id of the folder that was chosen now. @type {Map<string, import("./outgoing.js").Sent>} */
    const former = new Map();
    for (const { file, folder } of choices) {
      const one = unreadable.get(signOf(file, folder));
      if (folder && one) former.set(folder.id, one);
    }
    /** @type {Map<string, Choice[]>} */
    const groups = new Map();
    for (const { file, folder } of choices) {
      const one = folder ? former.get(folder.id) : unreadable.get(signOf(file));
      const id = one?.share?.id ?? folder?.id ?? randomId();
      const group = groups.get(id) ?? [];
      group.push({ file, folder: folder && { ...folder, id: one?.folder?.id ?? folder.id } });
      groups.set(id, group);
    }
    return groups;
  }
}

/** @param {any} item @returns {import("./outgoing.js").ShareOf | undefined} */
function shareOf(item) {
  return item instanceof FolderView ? item.members[0]?.share : item.share;
}

/** Returns what tells files apart. @param {File} file @param {import("./transfer.js").Folder} [folder] */
const signOf = (file, folder) => sign(folder, nameOf(file, folder), file.size, file.lastModified);

/** @param {import("./transfer.js").Folder | undefined} folder @param {...(string | number)} facts */
const sign = (folder, ...facts) => JSON.stringify([folder?.path ?? [], ...facts]);
