/** The room of the files page: connects the people in it with the transfers of this tab. */

import { MAX_PEOPLE } from "./files-words.js";
import { Group, RoomFull, distinctNames } from "./group.js";
import { showGroupProblems } from "./group-problems.js";
import { friendlyName, isolate } from "./names.js";
import { detach, exchangeWith, farewell, showAll, welcome } from "./transfers.js";
import { announce, showProblem } from "./view.js";
import { onNoCandidates } from "./webrtc.js";

/** Delay of an update after a change, in milliseconds. */
const SHOW_AFTER = 40;

export class FilesRoom {
  #group;
  #self;
  #name;
  #onchange;
  #doing;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #showing;
  #stays = new AbortController().signal;
  /** Names of people whose arrival was announced, by their ids. @type {Map<string, string>} */
  #announced = new Map();
  /** Connections whose channel for files is open. @type {WeakSet<RTCPeerConnection>} */
  #open = new WeakSet();

  /**
   * @param {object} options
   * @param {import("../inbox.js").Inbox} options.inbox
   * @param {string} options.room
   * @param {string} options.name this person's name
   * @param {() => void} options.onchange called when the view has to change
   * @param {Parameters<typeof showGroupProblems>[1]} options.doing what the buttons of problems do
   */
  constructor({ inbox, room, name, onchange, doing }) {
    this.#self = inbox.id;
    this.#name = name;
    this.#onchange = onchange;
    this.#doing = doing;
    this.#group = new Group({
      inbox, room, name, at: "files", most: MAX_PEOPLE,
      page: {
        onentered: onchange,
        onpeople: () => this.#peopleChanged(),
        onleft: (person) => this.#left(person),
        onchannel: (person, open) => open || detach(exchangeWith(person.id)),
        ondata: (person, data) => exchangeWith(person.id).handle(data),
        setup: (pc, person) => this.#setup(pc, person),
      },
    });
  }

  /**
   * Stays in the room until the signal is aborted.
   * @param {AbortSignal} signal
   * @returns {Promise<boolean>} whether there was a place
   * @throws {InboxError} when the inbox cannot stay in the room
   */
  async run(signal) {
    this.#stays = signal;
    try {
      await this.#group.run(signal);
      return true;
    } catch (error) {
      if (error instanceof RoomFull) return false;
      throw error;
    }
  }

  /** @param {string} name */
  rename(name) {
    this.#name = name;
    this.#group.rename(name);
    this.#peopleChanged();
  }

  /** @returns {import("./room-view.js").Room} */
  get view() {
    const names = this.#names();
    return {
      self: this.#name,
      people: [...this.#group.people.values()].map(({ id, state, elsewhere, error }) => ({
        id, name: names.get(id) ?? "", state: elsewhere ? "elsewhere" : state, failed: error !== undefined,
      })),
    };
  }

  #names() {
    return distinctNames([{ id: this.#self, name: this.#name }, ...this.#group.people.values()]);
  }

  #peopleChanged() {
    const names = this.#names();
    for (const { id, state, elsewhere = false } of this.#group.people.values()) {
      const exchange = exchangeWith(id);
      exchange.elsewhere = elsewhere;
      exchange.name = names.get(id) || exchange.name;
      if (!exchange.here) welcome(exchange);
      if (exchange.name === "" || state !== "connected") continue;
      if (!this.#announced.has(id)) announce(`${isolate(exchange.name)} entered the room.`);
      this.#announced.set(id, exchange.name);
    }
    showGroupProblems(this.#group.people.values(), this.#doing);
    // Many changes at once, as from a page that floods this one with names, take one update.
    this.#showing ??= setTimeout(() => {
      this.#showing = undefined;
      this.#onchange();
    }, SHOW_AFTER);
  }

  /** @param {import("./group.js").Person} person */
  #left({ id }) {
    const name = this.#announced.get(id);
    if (this.#announced.delete(id) && !this.#stays.aborted) announce(`${isolate(name ?? friendlyName(id))} left the room.`);
    farewell(exchangeWith(id), this.#stays.aborted);
  }

  /**
   * @param {RTCPeerConnection} pc
   * @param {import("./group.js").Person} person
   */
  #setup(pc, person) {
    const exchange = exchangeWith(person.id);
    exchange.connect({
      send: (data) => this.#group.send(person, data),
      isConnected: () => person.pc === pc && person.channel !== undefined && person.state === "connected" && this.#open.has(pc),
    });
    onNoCandidates(pc, () => showProblem("no-candidates"));
    const channel = pc.createDataChannel("files", { negotiated: true, id: 1 });
    exchange.attach(channel, () => person.pc === pc, () => this.#open.add(pc));
    channel.addEventListener("open", () => showAll());
  }
}
