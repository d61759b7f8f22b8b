/**
 * The people in a room: who is there, what they are called, and messages between every two of
 * them. The SDK connects them, and the page decides what they exchange.
 *
 * Names travel over the connections only, as {type: "name", name, at}. A room can be entered on the
 * call page and on the files page, and at says on which.
 */

import { InboxError, randomId } from "../inbox.js";
import { join } from "../rooms.js";
import { allowance, messagesOf, readMessage, sendMessage } from "./messages.js";
import { cleanName, friendlyName } from "./names.js";
import { ownIceServers } from "./settings.js";

/** How long to wait for a name before deriving one from the id, in milliseconds. */
const NAME_TIMEOUT = 3000;
/** When to send another mark if none has arrived, in milliseconds. */
const MARK_AGAIN = 500;

/**
 * Another person in the room.
 * @typedef {object} Person
 * @property {string} id
 * @property {string} name empty while it is unknown
 * @property {"connecting" | "connected" | "interrupted"} state
 * @property {boolean} [elsewhere] whether they entered the room on the other page
 * @property {() => boolean} mayRename whether one more change of the name counts
 * @property {boolean} early whether they were in the room before this page
 * @property {import("../inbox.js").CallError | import("../inbox.js").InboxError} [error] why the last attempt to connect
 *   failed; the SDK keeps trying
 * @property {RTCPeerConnection} [pc]
 * @property {RTCDataChannel} [channel]
 *
 * The callbacks of a page.
 * @typedef {object} Page
 * @property {() => void} onentered this page is in the room
 * @property {() => void} onpeople someone came, left, is connected, or has another name
 * @property {(person: Person, open: boolean) => void} onchannel whether send() works
 * @property {(person: Person, data: any) => void} ondata a message from a person, unchecked
 * @property {(person: Person, over: boolean) => void} onleft over: whether this page, not the person, has left
 * @property {(pc: RTCPeerConnection, person: Person) => void} setup adds tracks and channels to a connection before it is made
 */

/** Thrown when as many people are in the room as the page, or the server, allows. */
export class RoomFull extends Error {
  /** @param {boolean} [byServer] whether the server allows no more */
  constructor(byServer = false) {
    super();
    this.byServer = byServer;
  }
}

export class Group {
  /** The others, in the order in which they were reported to this page. @type {Map<string, Person>} */
  people = new Map();
  #inbox;
  #room;
  #name;
  #most;
  #at;
  #page;
  /** @type {readonly string[]} */
  #members = [];

  /**
   * @param {object} options
   * @param {import("../inbox.js").Inbox} options.inbox
   * @param {string} options.room its name, which is all that one needs to enter
   * @param {string} options.name this person's name
   * @param {"call" | "files"} options.at the page on which this person is
   * @param {number} options.most maximum number of people, this one included
   * @param {Page} options.page
   */
  constructor({ inbox, room, name, at, most, page }) {
    this.#inbox = inbox;
    this.#room = room;
    this.#name = name;
    this.#at = at;
    this.#most = most;
    this.#page = page;
  }

  /**
   * Enters the room and stays until the signal is aborted.
   * @param {AbortSignal} signal
   * @throws {RoomFull} when there is no place left
   * @throws {InboxError} when the inbox cannot stay in the room
   */
  async run(signal) {
    try {
      const room = await this.#join(signal);
      if (room.members.indexOf(this.#inbox.id) >= this.#most) {
        room.leave().catch(() => {}); // the membership ends with the inbox
        throw new RoomFull();
      }
      this.#members = room.members;
      this.#page.onentered();
      for await (const change of room.peers()) {
        this.#members = room.members;
        this.#changed(change);
      }
    } catch (error) {
      if (signal.aborted) return;
      throw error instanceof InboxError && error.code === "room-full" ? new RoomFull(true) : error;
    } finally {
      for (const person of this.people.values()) this.#remove(person, true);
    }
  }

  /**
   * Joins, and tries until the server answers.
   * @param {AbortSignal} signal
   */
  async #join(signal) {
    for (;;) {
      const mark = randomId();
      const ends = new AbortController();
      const stop = () => ends.abort();
      signal.addEventListener("abort", stop);
      // This loop keeps the inbox open until the room is joined.
      const loop = this.#inbox.messages({ signal: ends.signal, match: (message) => this.#markOf(message) !== undefined });
      try {
        // Receive what the inbox holds from before a reload. Events of the room among it are older than the
        // answer to a join, and would make this page forget people who are there.
        /** @type {unknown} */
        let fault;
        /** @type {string | undefined} */
        let seen;
        const send = async () => {
          // A tab that is just being replaced can still receive a mark in place of this one.
          while (seen !== mark && !ends.signal.aborted) {
            await this.#inbox.send(this.#inbox.id, { type: "mark", mark }, { signal: ends.signal });
            await new Promise((resolve) => setTimeout(resolve, MARK_AGAIN));
          }
        };
        send().catch((error) => {
          fault = error;
          stop();
        });
        while (seen !== mark) {
          const { done, value } = await loop.next();
          if (done) throw fault;
          seen = this.#markOf(value);
        }
        return await join(this.#inbox, this.#room, {
          signal, iceServers: ownIceServers(), setup: (pc, peer) => this.#setup(pc, peer),
          outcomes: false, // the server takes one report a minute, and here are several connections at once
        });
      } catch (error) {
        if (signal.aborted || !(error instanceof InboxError) || !error.passes) throw error;
      } finally {
        signal.removeEventListener("abort", stop);
        stop();
        loop.return();
      }
    }
  }

  /**
   * Returns the mark that a page of this id sent to itself.
   * @param {import("../inbox.js").Message} message
   * @returns {string | undefined}
   */
  #markOf({ from, data }) {
    const { type, mark } = /** @type {any} */ (data) ?? {};
    return from === this.#inbox.id && type === "mark" ? String(mark) : undefined;
  }

  /** Changes this person's name. @param {string} name */
  rename(name) {
    this.#name = name;
    for (const person of this.people.values()) this.send(person, { type: "name", name });
  }

  /**
   * Sends a message to one person.
   * @param {Person} person
   * @param {object} data
   * @returns {boolean} whether it was sent
   */
  send({ channel }, data) {
    return sendMessage(channel, data);
  }

  /** @param {import("../rooms.js").PeerChange} change */
  #changed({ peer, state, error }) {
    const person = this.people.get(peer);
    if (state === "left") {
      if (person) this.#remove(person);
    } else if (state === "failed") {
      if (person) Object.assign(person, { state: "connecting", error });
    } else if (state === "connecting" && !this.#isBeyond(peer)) {
      this.#person(peer).state = "connecting";
    }
    this.#page.onpeople();
  }

  /** Reports whether a member came when the room was full, and is about to leave again. @param {string} peer */
  #isBeyond(peer) {
    return this.#members.indexOf(peer) >= this.#most;
  }

  /** @param {string} peer */
  #person(peer) {
    const early = this.#members.indexOf(peer) < this.#members.indexOf(this.#inbox.id);
    const person = this.people.get(peer) ?? { id: peer, name: "", state: "connecting", early, mayRename: allowance(30, 1) };
    this.people.set(peer, person);
    return person;
  }

  /** @param {Person} person @param {boolean} [over] whether this page has left */
  #remove(person, over = false) {
    this.people.delete(person.id);
    this.#close(person);
    person.pc = undefined;
    this.#page.onleft(person, over);
  }

  /** @param {Person} person */
  #close(person) {
    if (!person.channel) return;
    person.channel = undefined;
    this.#page.onchannel(person, false);
  }

  /**
   * @param {RTCPeerConnection} pc
   * @param {string} peer
   */
  #setup(pc, peer) {
    if (this.#isBeyond(peer)) throw new RoomFull();
    const person = this.#person(peer);
    this.#close(person);
    person.pc = pc;
    const current = () => this.people.get(peer) === person && person.pc === pc;
    const channel = messagesOf(pc);
    channel.onopen = () => {
      if (!current()) return;
      person.channel = channel;
      this.send(person, { type: "name", name: this.#name, at: this.#at });
      setTimeout(() => current() && person.name === "" && this.#named(person, ""), NAME_TIMEOUT);
      this.#page.onchannel(person, true);
    };
    channel.onclose = () => current() && this.#close(person);
    channel.onmessage = ({ data }) => current() && this.#handle(person, data);
    pc.addEventListener("connectionstatechange", () => {
      if (!current()) return;
      if (pc.connectionState === "connected") Object.assign(person, { state: "connected", error: undefined });
      else if (person.state === "connected") person.state = "interrupted";
      this.#page.onpeople();
    });
    this.#page.setup(pc, person);
  }

  /**
   * @param {Person} person
   * @param {unknown} text
   */
  #handle(person, text) {
    const data = readMessage(text);
    if (data?.type !== "name") {
      if (data) this.#page.ondata(person, data);
    } else if (person.mayRename()) {
      if (["call", "files"].includes(data.at)) person.elsewhere = data.at !== this.#at;
      this.#named(person, data.name);
    }
  }

  /**
   * Sets the name of a person. If nothing of it can be shown, the id determines one.
   * @param {Person} person
   * @param {unknown} name
   */
  #named(person, name) {
    person.name = cleanName(name) || friendlyName(person.id);
    this.#page.onpeople();
  }
}

/**
 * Returns what to call people, by their ids: the name, and for two people with the same name
 * also a second one that follows from the id.
 * @param {Iterable<{id: string, name: string}>} people
 * @returns {Map<string, string>} empty for a person whose name is unknown
 */
export function distinctNames(people) {
  const all = [...people];
  const like = (/** @type {string} */ name) => name.normalize("NFKC").toLowerCase();
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const { name } of all) counts.set(like(name), (counts.get(like(name)) ?? 0) + 1);
  return new Map(all.map(({ id, name }) => [id, name !== "" && /** @type {number} */ (counts.get(like(name))) > 1 ? `${name} (${friendlyName(id)})` : name]));
}
