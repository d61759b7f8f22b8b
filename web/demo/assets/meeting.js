/**
 * A meeting with one peer at a time: outgoing and incoming calls, the return after a
 * reload, and the ending. The SDK sets up the connections, and the page decides what the
 * two exchange over them.
 *
 * In addition to the SDK's messages, the inbox carries {type: "ringing"} and
 * {type: "hang-up", why}. Names go over the connection only: {type: "name", name}.
 */

import { CallError, accept, connect } from "../inbox.js";
import { PATH_PROBLEMS, endingOf, passing, problemOfPath, refusals, unconnected } from "./failures.js";
import { messagesOf, readMessage, sendMessage } from "./messages.js";
import { cleanName, friendlyName } from "./names.js";
import { pathOf } from "./path.js";
import { ownIceServers } from "./settings.js";
import { onNoCandidates } from "./webrtc.js";

const SECOND = 1000;
/** How long a caller keeps trying while nobody has an inbox with that id. */
const MAX_WAIT = 600 * SECOND;
/** How long a call rings, and how long finding a path may take. */
const RING_TIMEOUT = 60 * SECOND;
/** The delay before the second attempt, and the maximum delay. */
const FIRST_RETRY = 2 * SECOND;
const LAST_RETRY = 15 * SECOND;
/** When to tell the person that connecting takes long. */
const SLOW_AFTER = 12 * SECOND;
/** How long the last message may take over the channel. */
const GOODBYE_TIMEOUT = 250;
/** How long to wait for a name before deriving one from the id. */
const NAME_TIMEOUT = 3 * SECOND;

/**
 * @typedef {"waiting" | "ringing" | "calling" | "connecting" | "connected" | "reconnecting" | "ended"} State
 *
 * The callbacks of a page.
 * @typedef {object} Page
 * @property {(state: State, name: string) => void} onstate the state changed; the name is empty while it is unknown
 * @property {(name: string) => void} onstep something happened, by a name in words.js
 * @property {(name: string) => void} onproblem a problem occurred, by a name in words.js
 * @property {(...names: string[]) => void} onfine these problems are over
 * @property {(path: import("./path.js").Path) => void} onpath
 * @property {(open: boolean) => void} onchannel whether send() works
 * @property {(data: any) => void} ondata a message from the other side, unchecked
 * @property {(why: import("./failures.js").Ending, error?: CallError) => void} onend
 * @property {() => void} onchange the state to keep for a reload changed
 * @property {(name: string) => void} [onname] the other person's name is known
 * @property {() => Promise<void>} prepare opens what a call needs before it is answered
 * @property {(pc: RTCPeerConnection) => void} setup adds tracks and channels to a connection before it is made
 *
 * One peer, over any number of connections.
 * @typedef {object} One
 * @property {string} peer
 * @property {string} name the other person's name, once known
 * @property {boolean} calls whether this side calls
 * @property {boolean} accepted
 * @property {boolean} worked whether the two were ever connected
 * @property {boolean} away whether the other side has left its page
 * @property {boolean} interrupted
 * @property {AbortController} ends
 * @property {RTCPeerConnection} [pc]
 * @property {RTCDataChannel} [channel]
 * @property {import("../inbox.js").Call} [call] the ringing call
 * @property {Record<string, ReturnType<typeof setTimeout>>} timers by name
 */

export class Meeting {
  /** Whether a call rings instead of being answered immediately. */
  asks = false;
  /** @type {"waiting" | "ended"} the state without a peer */
  rest = "waiting";
  /** @type {One | undefined} */
  #one;
  #last = "";
  #inbox;
  #page;
  #absence;
  #lasting;
  /** This person's name. */
  #name;
  /** The peer whose name is known from before a reload. */
  #known;

  /**
   * @param {object} options
   * @param {import("../inbox.js").Inbox} options.inbox
   * @param {Page} options.page
   * @param {boolean} options.asks
   * @param {string} options.name this person's name
   * @param {{peer: string, name: string}} [options.known] the peer before a reload
   * @param {number} [options.absence] how long to wait for a peer that left its page, in milliseconds; by default forever
   */
  constructor({ inbox, page, asks, name, known, absence }) {
    this.#inbox = inbox;
    this.#page = page;
    this.asks = asks;
    this.#absence = absence ?? 0;
    this.#lasting = absence === undefined;
    this.#name = name;
    this.#known = known ?? { peer: "", name: "" };
  }

  /** @returns {string} the name of the current or last peer; empty while it is unknown */
  get peerName() {
    return this.#one?.name ?? this.#known.name;
  }

  /** @returns {string | undefined} the peer that a reloaded page has to call again */
  get peer() {
    return this.#one && (this.#one.accepted || this.#one.calls) ? this.#one.peer : undefined;
  }

  /** @returns {boolean} whether the two have been connected */
  get worked() {
    return this.#one?.worked ?? false;
  }

  /** @returns {boolean} whether a reloaded page continues by itself */
  get running() {
    return this.#one !== undefined || this.rest === "waiting";
  }

  /** @returns {RTCPeerConnection | undefined} */
  get pc() {
    return this.#one?.pc;
  }

  /**
   * Receives, until the signal is aborted.
   * @param {AbortSignal} signal
   * @throws {InboxError} when the inbox has ended for good
   */
  async run(signal) {
    await Promise.all([this.#receiveMessages(signal), this.#receiveCalls(signal)]);
  }

  /**
   * Calls a peer.
   * @param {string} peer
   * @param {boolean} [back] whether the two were connected before a reload
   */
  async dial(peer, back = false) {
    if (this.#one) return; // the peer called first
    const one = this.#begin(peer, true);
    one.worked = back;
    if (back) this.#page.onstep("coming-back");
    this.#page.onchange();
    await this.#connect(one);
  }

  /** Changes this person's name. @param {string} name */
  rename(name) {
    this.#name = name;
    this.send({ type: "name", name });
  }

  /** Calls the peer of the last call. */
  async again() {
    await this.#page.prepare();
    await this.dial(this.#last);
  }

  /** Answers the ringing call. */
  answer() {
    const one = this.#one;
    if (one?.call && !one.accepted) this.#accept(one, one.call);
  }

  /** Declines the ringing call. */
  decline() {
    const one = this.#one;
    if (!one?.call || one.accepted) return;
    this.#finish(one, "refused");
    one.call.reject("declined");
  }

  /** Ends the call and tells the other side. */
  hangUp() {
    if (this.#one) this.#finish(this.#one, "hung-up", { notify: "bye" });
  }

  /** Ends everything without callbacks. */
  close() {
    if (this.#one) this.#end(this.#one);
  }

  /**
   * Sends a message over the connection.
   * @param {object} data
   * @returns {boolean} whether it was sent
   */
  send(data) {
    return sendMessage(this.#one?.channel, data);
  }

  /** @param {AbortSignal} signal */
  async #receiveMessages(signal) {
    const match = (/** @type {import("../inbox.js").Message} */ { data }) => ["ringing", "hang-up"].includes(/** @type {any} */ (data)?.type);
    for await (const { from, data } of this.#inbox.messages({ signal, match, onreset: () => this.#page.onstep("inbox-reset") })) {
      const one = this.#one;
      if (one?.peer !== from) continue;
      const { type, why } = /** @type {any} */ (data);
      if (type === "hang-up") this.#finish(one, why === "no-candidates" ? "no-candidates-there" : "bye");
      else if (one.calls && !one.accepted) {
        this.#page.onfine(...refusals);
        this.#page.onstep("rings-there");
      }
    }
  }

  /** @param {AbortSignal} signal */
  async #receiveCalls(signal) {
    for await (const call of accept(this.#inbox, { signal })) this.#called(call);
  }

  /** @param {import("../inbox.js").Call} call */
  #called(call) {
    const { from } = call;
    const before = this.#one;
    // A page that waits for a lost peer is free for another one.
    if (before && before.peer !== from && !(before.away && this.#lasting)) {
      call.reject("busy");
      return;
    }
    if (before) this.#end(before);
    const one = this.#begin(from, false);
    one.call = call;
    if (before?.peer === from && before.accepted) {
      // Their page was reloaded, or they replace a lost connection.
      one.worked = before.worked;
      if (one.worked) this.#page.onstep("returned");
      this.#accept(one, call);
    } else if (before?.calls || !this.asks) {
      this.#page.onstep("called");
      this.#accept(one, call);
    } else {
      this.#page.onstep("called");
      this.#page.onstate("ringing", one.name);
      this.#inbox.send(from, { type: "ringing" }, { signal: one.ends.signal }).catch(() => {});
      call.signal.addEventListener("abort", () => {
        if (!one.accepted) this.#finish(one, call.signal.reason?.code === "no-answer" ? "unanswered" : "missed");
      });
    }
  }

  /**
   * @param {string} peer
   * @param {boolean} calls
   * @returns {One}
   */
  #begin(peer, calls) {
    this.#last = peer;
    const name = this.#known.peer === peer ? this.#known.name : "";
    return (this.#one = { peer, name, calls, accepted: false, worked: false, away: false, interrupted: false, ends: new AbortController(), timers: {} });
  }

  /** @param {One} one */
  async #connect(one) {
    this.#page.onstate(one.worked ? "reconnecting" : "calling", one.name);
    const lasting = one.worked && this.#lasting;
    const until = lasting ? Infinity : performance.now() + MAX_WAIT;
    for (let wait = FIRST_RETRY; this.#one === one; wait = Math.min(1.5 * wait, LAST_RETRY)) {
      try {
        this.#watchEnd(one, await connect(this.#inbox, one.peer, {
          signal: one.ends.signal,
          timeout: RING_TIMEOUT,
          iceServers: ownIceServers(),
          outcomes: !one.worked, // the first connection was reported already
          setup: (pc) => this.#setup(one, pc),
        }));
        return;
      } catch (error) {
        if (this.#one !== one) return;
        const problem = passing(error, lasting);
        if (problem === undefined || performance.now() > until) return this.#finish(one, endingOf(error), { error });
        one.accepted = false;
        this.#page.onfine(...refusals.filter((name) => name !== problem), "slow");
        this.#page.onproblem(problem);
        this.#page.onstate(one.worked ? "reconnecting" : "calling", one.name);
        await pause(wait, one.ends.signal);
      }
    }
  }

  /**
   * @param {One} one
   * @param {import("../inbox.js").Call} call
   */
  async #accept(one, call) {
    one.accepted = true;
    this.#page.onchange();
    await this.#page.prepare();
    if (this.#one !== one) return call.reject();
    this.#connecting(one);
    try {
      this.#watchEnd(one, await call.accept({ timeout: RING_TIMEOUT, iceServers: ownIceServers(), setup: (pc) => this.#setup(one, pc) }));
    } catch (error) {
      if (this.#one !== one) return;
      // A peer that left again may return again.
      if (one.worked && (this.#lasting || endingOf(error) === "left")) this.#goAway(one);
      else this.#finish(one, endingOf(error), { error });
    }
  }

  /** @param {One} one */
  #connecting(one) {
    this.#page.onfine(...refusals, ...PATH_PROBLEMS);
    this.#page.onstate(one.worked ? "reconnecting" : "connecting", one.name);
    if (!one.worked) this.#page.onstep("connecting");
    this.#timer(one, "slow", SLOW_AFTER, () => this.#page.onproblem("slow"));
  }

  /**
   * @param {One} one
   * @param {RTCPeerConnection} pc
   */
  #setup(one, pc) {
    one.pc = pc;
    const current = () => this.#one === one && one.pc === pc;
    const channel = messagesOf(pc);
    one.channel = channel;
    channel.onopen = () => {
      if (!current()) return;
      this.send({ type: "name", name: this.#name });
      if (one.name === "") this.#timer(one, "name", NAME_TIMEOUT, () => this.#named(one, ""));
      this.#page.onchannel(true);
    };
    // A peer that hangs up sends a message first. Without one, a closed channel means that its page went away.
    channel.onclose = () => current() && this.#goAway(one);
    channel.onmessage = ({ data }) => current() && this.#handle(one, data);
    pc.addEventListener("signalingstatechange", () => {
      if (!current() || one.accepted || pc.signalingState !== "stable") return;
      one.accepted = true;
      this.#page.onchange();
      if (!one.worked) this.#page.onstep("accepted");
      this.#connecting(one);
    });
    pc.addEventListener("connectionstatechange", () => current() && this.#changed(one, pc));
    onNoCandidates(pc, () => current() && !one.worked && this.#finish(one, "no-candidates", { notify: "no-candidates" }));
    this.#page.setup(pc);
  }

  /**
   * @param {One} one
   * @param {RTCPeerConnection} pc
   */
  async #changed(one, pc) {
    const state = pc.connectionState;
    if (state === "connected") {
      one.worked = true;
      one.interrupted = false;
      clearTimeout(one.timers.slow);
      this.#page.onfine("slow");
      this.#page.onchange();
      this.#page.onstate("connected", one.name);
      const path = await pathOf(pc);
      if (path && this.#one === one && pc.connectionState === "connected") this.#page.onpath(path);
    } else if (one.worked && ["disconnected", "failed"].includes(state) && !one.interrupted) {
      one.interrupted = true;
      this.#page.onstep("interrupted");
      this.#page.onstate("reconnecting", one.name);
    }
  }

  /**
   * Waits until the other side closes a connection, or it is lost for good.
   * @param {One} one
   * @param {import("../inbox.js").Connection} pc
   */
  async #watchEnd(one, pc) {
    const error = await pc.ended;
    if (this.#one !== one || one.pc !== pc) return;
    if (error.code === "ice-failed" && !this.#lasting) this.#finish(one, "lost", { error });
    else this.#goAway(one);
  }

  /**
   * Handles that the other side has left its page, possibly for a reload.
   * @param {One} one
   */
  #goAway(one) {
    if (one.away || !one.accepted) return;
    one.away = true;
    const { pc } = one;
    one.pc = one.channel = undefined;
    pc?.close();
    this.#page.onchannel(false);
    this.#page.onstate("reconnecting", one.name);
    this.#page.onstep("away");
    if (!this.#lasting) {
      this.#timer(one, "away", this.#absence, () => this.#finish(one, "left", { notify: "left" }));
    } else if (one.calls) {
      // They may still be there and have given up a lost connection.
      this.#end(one);
      const next = this.#begin(one.peer, true);
      next.worked = true;
      this.#page.onchange();
      this.#connect(next);
    }
  }

  /**
   * @param {One} one
   * @param {unknown} text
   */
  #handle(one, text) {
    const data = readMessage(text);
    if (data?.type === "bye") this.#finish(one, "bye");
    else if (data?.type === "name") this.#named(one, data.name);
    else if (data) this.#page.ondata(data);
  }

  /**
   * Sets the name of the other person. If nothing of it can be shown, the id determines one.
   * @param {One} one
   * @param {unknown} name
   */
  #named(one, name) {
    clearTimeout(one.timers.name);
    one.name = cleanName(name) || friendlyName(one.peer);
    this.#known = { peer: one.peer, name: one.name };
    this.#page.onchange();
    this.#page.onname?.(one.name);
  }

  /**
   * @param {One} one
   * @param {import("./failures.js").Ending} why
   * @param {{notify?: string, error?: unknown}} [options] notify: the reason for the other side
   */
  #finish(one, why, { notify, error } = {}) {
    if (this.#one !== one) return;
    if (!one.worked) why = unconnected(why);
    this.#end(one, notify);
    // An unsuccessful incoming call leaves the page as it was.
    if (one.calls || one.worked) this.rest = "ended";
    this.#page.onchange();
    this.#page.onend(why, error instanceof CallError ? error : undefined);
    this.#page.onstate(this.rest, one.name);
    if (["no-path", "no-candidates", "no-webrtc"].includes(why)) this.#page.onproblem(why === "no-path" ? problemOfPath(error) : why);
  }

  /**
   * @param {One} one
   * @param {string} [notify] the reason for the other side
   */
  #end(one, notify) {
    const sent = notify !== undefined && this.send({ type: "bye" });
    this.#one = undefined;
    // Send this before the SDK's message, which could also mean a reload.
    if (notify !== undefined && one.accepted) this.#inbox.send(one.peer, { type: "hang-up", why: notify }, { signal: AbortSignal.timeout(10 * SECOND) }).catch(() => {});
    one.ends.abort();
    for (const id of Object.values(one.timers)) clearTimeout(id);
    const { pc } = one;
    // close() drops messages that the channel still buffers.
    if (sent) setTimeout(() => pc?.close(), GOODBYE_TIMEOUT);
    else pc?.close();
    this.#page.onfine("slow", ...refusals);
    this.#page.onchannel(false);
  }

  /**
   * @param {One} one
   * @param {string} name
   * @param {number} milliseconds
   * @param {() => void} act
   */
  #timer(one, name, milliseconds, act) {
    clearTimeout(one.timers[name]);
    one.timers[name] = setTimeout(() => this.#one === one && act(), milliseconds);
  }
}

/**
 * @param {number} milliseconds
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
