/**
 * Being with one peer at a time: calling and being called, one's way back after
 * a page was loaded again, and why it ended. The SDK makes the connections; what
 * the two exchange over them is the page's business.
 *
 * Besides what the SDK says, over the inbox go {type: "ringing"} and {type: "hang-up", why}.
 * Names go over the connection only: {type: "name", name}.
 */

import { CallError, accept, connect } from "../inbox.js";
import { PATH_PROBLEMS, endingOf, passing, problemOfPath, refusals, unconnected } from "./failures.js";
import { cleanName, friendlyName } from "./names.js";
import { pathOf } from "./path.js";
import { ownIceServers } from "./settings.js";
import { onNoCandidates } from "./webrtc.js";

const SECOND = 1000;
/** How long a caller goes on while nobody has an inbox under that id. */
const MAX_WAIT = 600 * SECOND;
/** How long it rings before nobody is there, and how long finding a path may take. */
const RING_TIMEOUT = 60 * SECOND;
/** How long to wait before the second try, and at most. */
const FIRST_RETRY = 2 * SECOND;
const LAST_RETRY = 15 * SECOND;
/** When to say that it takes long. */
const SLOW_AFTER = 12 * SECOND;
/** How long last words over the channel may take. */
const GOODBYE_TIMEOUT = 250;
/** How long to wait for a name before one is made of the id. */
const NAME_TIMEOUT = 3 * SECOND;
/** What a stranger can make us read. */
const MOST_TEXT = 16_384;

/**
 * @typedef {"waiting" | "ringing" | "calling" | "connecting" | "connected" | "reconnecting" | "ended"} State
 *
 * What a page is told, and asked for.
 * @typedef {object} Page
 * @property {(state: State, name: string) => void} onstate the other side's name is empty while it is unknown
 * @property {(name: string) => void} onstep something happened, by a name in words.js
 * @property {(name: string) => void} onproblem something is wrong, by a name in words.js
 * @property {(...names: string[]) => void} onfine these are wrong no more
 * @property {(path: import("./path.js").Path) => void} onpath
 * @property {(open: boolean) => void} onchannel whether say() works
 * @property {(data: any) => void} ondata what the other side's say() was given, unchecked
 * @property {(why: import("./failures.js").Ending, error?: CallError) => void} onend
 * @property {() => void} onchange what is to be kept over a reload has changed
 * @property {(name: string) => void} [onname] the other side has told its name
 * @property {() => Promise<void>} prepare whatever has to be there before a call is answered
 * @property {(pc: RTCPeerConnection) => void} setup adds tracks and channels to a connection before it is made
 *
 * One peer, over as many connections as it takes.
 * @typedef {object} One
 * @property {string} peer
 * @property {string} name what the other side is called, once it is known
 * @property {boolean} calls whether this side calls
 * @property {boolean} accepted
 * @property {boolean} worked whether the two were ever connected
 * @property {boolean} away whether the other side has left its page
 * @property {boolean} interrupted
 * @property {AbortController} ends
 * @property {RTCPeerConnection} [pc]
 * @property {RTCDataChannel} [channel]
 * @property {import("../inbox.js").Call} [call] that rings
 * @property {Record<string, ReturnType<typeof setTimeout>>} timers by name
 */

export class Meeting {
  /** Whether a call rings, instead of being answered at once. */
  asks = false;
  /** @type {"waiting" | "ended"} the state while there is nobody */
  rest = "waiting";
  /** @type {One | undefined} */
  #one;
  #last = "";
  #inbox;
  #page;
  #absence;
  #lasting;
  /** What this side is called. */
  #name;
  /** Whose name is known, since the two were connected before. */
  #known;

  /**
   * @param {object} options
   * @param {import("../inbox.js").Inbox} options.inbox
   * @param {Page} options.page
   * @param {boolean} options.asks
   * @param {string} options.name what this side is called
   * @param {{peer: string, name: string}} [options.known] a peer whose name is known from before this page was loaded again
   * @param {number} [options.absence] how many milliseconds one who has left the page has to come back; for ever, if not given
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

  /** @returns {string} what the other side is called, or was; empty while it is unknown */
  get peerName() {
    return this.#one?.name ?? this.#known.name;
  }

  /** @returns {string | undefined} whom a page that is loaded again calls again */
  get peer() {
    return this.#one && (this.#one.accepted || this.#one.calls) ? this.#one.peer : undefined;
  }

  /** @returns {boolean} whether the two were connected already */
  get worked() {
    return this.#one?.worked ?? false;
  }

  /** @returns {boolean} whether a page that is loaded again goes on by itself */
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
   * @throws {InboxError} when it makes no sense to go on
   */
  async run(signal) {
    await Promise.all([this.#hearWords(signal), this.#hearCalls(signal)]);
  }

  /**
   * Calls a peer.
   * @param {string} peer
   * @param {boolean} [back] whether the two were connected before this page was loaded again
   */
  async dial(peer, back = false) {
    if (this.#one) return; // they were faster
    const one = this.#begin(peer, true);
    one.worked = back;
    if (back) this.#page.onstep("coming-back");
    this.#page.onchange();
    await this.#connect(one);
  }

  /** Changes what this side is called. @param {string} name */
  rename(name) {
    this.#name = name;
    this.say({ type: "name", name });
  }

  /** Calls the peer of the last call. */
  async again() {
    await this.#page.prepare();
    await this.dial(this.#last);
  }

  /** Answers the call that rings. */
  answer() {
    const one = this.#one;
    if (one?.call && !one.accepted) this.#accept(one, one.call);
  }

  /** Declines the call that rings. */
  decline() {
    const one = this.#one;
    if (!one?.call || one.accepted) return;
    this.#finish(one, "refused");
    one.call.reject("declined");
  }

  /** Ends it, and says so. */
  hangUp() {
    if (this.#one) this.#finish(this.#one, "hung-up", { tell: "bye" });
  }

  /** Ends everything, without a word to the page. */
  close() {
    if (this.#one) this.#end(this.#one);
  }

  /**
   * Says something to the other side, directly.
   * @param {object} data
   * @returns {boolean} whether it could be said
   */
  say(data) {
    const channel = this.#one?.channel;
    if (channel?.readyState !== "open") return false;
    channel.send(JSON.stringify(data));
    return true;
  }

  /** @param {AbortSignal} signal */
  async #hearWords(signal) {
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
  async #hearCalls(signal) {
    for await (const call of accept(this.#inbox, { signal })) this.#called(call);
  }

  /** @param {import("../inbox.js").Call} call */
  #called(call) {
    const { from } = call;
    const before = this.#one;
    // Who waits for somebody that may never come back is free for another.
    if (before && before.peer !== from && !(before.away && this.#lasting)) {
      call.reject("busy");
      return;
    }
    if (before) this.#end(before);
    const one = this.#begin(from, false);
    one.call = call;
    if (before?.peer === from && before.accepted) {
      // Their page was loaded again, or they mend what was lost.
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
        this.#until(one, await connect(this.#inbox, one.peer, {
          signal: one.ends.signal,
          timeout: RING_TIMEOUT,
          iceServers: ownIceServers(),
          outcomes: !one.worked, // one that comes back was reported
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
      this.#until(one, await call.accept({ timeout: RING_TIMEOUT, iceServers: ownIceServers(), setup: (pc) => this.#setup(one, pc) }));
    } catch (error) {
      if (this.#one !== one) return;
      // Who has left once more may come once more.
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
    const channel = pc.createDataChannel("words", { negotiated: true, id: 0 });
    one.channel = channel;
    channel.onopen = () => {
      if (!current()) return;
      this.say({ type: "name", name: this.#name });
      if (one.name === "") this.#timer(one, "name", NAME_TIMEOUT, () => this.#named(one, ""));
      this.#page.onchannel(true);
    };
    // Who hangs up says so first; a channel that just closes is a page that went away.
    channel.onclose = () => current() && this.#goAway(one);
    channel.onmessage = ({ data }) => current() && this.#hear(one, data);
    pc.addEventListener("signalingstatechange", () => {
      if (!current() || one.accepted || pc.signalingState !== "stable") return;
      one.accepted = true;
      this.#page.onchange();
      if (!one.worked) this.#page.onstep("accepted");
      this.#connecting(one);
    });
    pc.addEventListener("connectionstatechange", () => current() && this.#changed(one, pc));
    onNoCandidates(pc, () => current() && !one.worked && this.#finish(one, "no-candidates", { tell: "no-candidates" }));
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
   * Waits until the other side has closed a connection, or it is lost for good.
   * @param {One} one
   * @param {import("../inbox.js").Connection} pc
   */
  async #until(one, pc) {
    const error = await pc.ended;
    if (this.#one !== one || one.pc !== pc) return;
    if (error.code === "ice-failed" && !this.#lasting) this.#finish(one, "lost", { error });
    else this.#goAway(one);
  }

  /**
   * The other side has left its page, perhaps to load it again.
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
      this.#timer(one, "away", this.#absence, () => this.#finish(one, "left", { tell: "left" }));
    } else if (one.calls) {
      // They may not have left, but have given up a connection that was lost.
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
  #hear(one, text) {
    if (typeof text !== "string" || text.length > MOST_TEXT) return;
    let data;
    try {
      data = JSON.parse(text);
    } catch {
      return;
    }
    if (data?.type === "bye") this.#finish(one, "bye");
    else if (data?.type === "name") this.#named(one, data.name);
    else if (typeof data?.type === "string") this.#page.ondata(data);
  }

  /**
   * Takes a name as that of the other side, unless nothing of it can be shown.
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
   * @param {{tell?: string, error?: unknown}} [options] tell: why, for the other side
   */
  #finish(one, why, { tell, error } = {}) {
    if (this.#one !== one) return;
    if (!one.worked) why = unconnected(why);
    this.#end(one, tell);
    // A call that came and led to nothing leaves the page as it was.
    if (one.calls || one.worked) this.rest = "ended";
    this.#page.onchange();
    this.#page.onend(why, error instanceof CallError ? error : undefined);
    this.#page.onstate(this.rest, one.name);
    if (["no-path", "no-candidates", "no-webrtc"].includes(why)) this.#page.onproblem(why === "no-path" ? problemOfPath(error) : why);
  }

  /**
   * @param {One} one
   * @param {string} [tell] why, for the other side
   */
  #end(one, tell) {
    const said = tell !== undefined && this.say({ type: "bye" });
    this.#one = undefined;
    // Before what the SDK says, which could also mean that this page is loaded again.
    if (tell !== undefined && one.accepted) this.#inbox.send(one.peer, { type: "hang-up", why: tell }, { signal: AbortSignal.timeout(10 * SECOND) }).catch(() => {});
    one.ends.abort();
    for (const id of Object.values(one.timers)) clearTimeout(id);
    const { pc } = one;
    // close() drops what the channel still holds.
    if (said) setTimeout(() => pc?.close(), GOODBYE_TIMEOUT);
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
