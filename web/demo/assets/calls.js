/**
 * Calling and being called. Over the inbox go small JSON messages that all name
 * their session: call, accept, busy, decline, bye, away, and between accept and
 * bye the signals of peer.js.
 */

import { InboxError, randomKey } from "./mailbox.js";
import { Connection, readSignal } from "./peer.js";
import { iceServers, loadIce } from "./settings.js";
import { endings, pathWords, steps } from "./words.js";
import { addLine, clearProblems, element, showChat, showProblem, showRemote, showState, showStatus } from "./view.js";

const SECOND = 1000;
/** How long a caller goes on while nobody has an inbox under that id. */
const PATIENCE = 600 * SECOND;
/** How long it rings before nobody is there. */
const RINGS = 60 * SECOND;
/** A call is repeated after this, in case the inbox it was sent to expired unread. */
const REPEAT = 10 * SECOND;
/** How long a page that went away has to come back: a reload takes a moment. */
const ABSENCE = 20 * SECOND;
/** When to say that it takes long, and when to give up. */
const SLOW = 12 * SECOND;
const LOST = 60 * SECOND;

/** Problems that pass by themselves once a message gets through. */
const transient = ["inbox-full", "rate-limited", "no-such-inbox"];

/** @param {keyof typeof steps} name */
export const step = (name) => addLine("step", steps[name], name);

/**
 * @param {InboxError} error
 * @returns {string} its name in words.js
 */
export function problemOf({ code }) {
  return ["server-full", "draining", ...transient].includes(code) ? code : "server-away";
}

/**
 * A call, from the first message about it to the last.
 * @typedef {object} Call
 * @property {string} session names this call, so that messages of another are told apart
 * @property {string} peer the other side's id
 * @property {boolean} calls whether this side calls
 * @property {boolean} accepted
 * @property {boolean} worked whether it was ever connected
 * @property {string} [said] the last state of the connection that was told
 * @property {AbortController} ends aborts what the call still sends
 * @property {Connection} [connection]
 * @property {Record<string, ReturnType<typeof setTimeout>>} timers by name
 */

/** The calls of one inbox: at most one at a time. */
export class Calls {
  /** Whether a call rings. After a call has ended it always does: nothing turns the camera on by itself. */
  asks = false;
  /** @type {"waiting" | "ended"} the state of the page while there is no call */
  rest = "waiting";
  /** @type {Call | undefined} */
  #call;
  #last = "";
  #inbox;
  #id;
  #own;
  #onchange;
  #onadvanced;

  /**
   * @param {object} options
   * @param {import("./mailbox.js").Inbox} options.inbox
   * @param {string} options.id our own
   * @param {import("./media.js").OwnMedia} options.own
   * @param {boolean} options.asks
   * @param {() => void} options.onchange called when running or peer changed
   * @param {() => void} options.onadvanced asked for the ICE servers
   */
  constructor({ inbox, id, own, asks, onchange, onadvanced }) {
    this.#inbox = inbox;
    this.#id = id;
    this.#own = own;
    this.asks = asks;
    this.#onchange = onchange;
    this.#onadvanced = onadvanced;
    own.onchange = async () => {
      await this.#call?.connection?.replaceStream(own.stream);
      this.#call?.connection?.say(own.told);
    };
  }

  /** @returns {string | undefined} whom a reloaded page calls again */
  get peer() {
    return this.#call && (this.#call.accepted || this.#call.calls) ? this.#call.peer : undefined;
  }

  /** @returns {boolean} whether a reloaded page goes on by itself */
  get running() {
    return this.#call !== undefined || this.rest === "waiting";
  }

  /**
   * Calls a peer.
   * @param {string} peer
   */
  async dial(peer) {
    const one = this.#begin(peer, randomKey(), true);
    this.#onchange();
    showState("calling", peer);
    element("calling-text").textContent = "Looking for their inbox on this server…";
    try {
      for (let found = false; this.#call === one && !one.accepted; ) {
        await this.#tell(one, { type: "call" }, PATIENCE);
        if (!found) {
          found = true;
          step("peer-found");
          element("calling-text").textContent = "Found. Waiting for an answer…";
          this.#timer(one, "rings", RINGS, () => this.#finish(one, "no-answer", "bye"));
        }
        await new Promise((resolve) => {
          one.timers.repeat = setTimeout(resolve, REPEAT);
        });
      }
    } catch (error) {
      this.#notSent(one, error);
    }
  }

  /** Calls the peer of the last call. */
  async again() {
    await this.#own.open();
    if (this.#call === undefined) await this.dial(this.#last);
  }

  /** Answers the call that rings. */
  answer() {
    if (this.#call && !this.#call.calls && !this.#call.accepted) this.#accept(this.#call);
  }

  /** Declines the call that rings. */
  decline() {
    if (this.#call) this.#finish(this.#call, "hung-up", "decline");
  }

  /** Ends the call that goes on. */
  hangUp() {
    if (this.#call) this.#finish(this.#call, "hung-up", "bye");
  }

  /** Ends everything, without a word. */
  close() {
    if (this.#call) this.#end(this.#call);
    this.#own.onchange = async () => {};
  }

  /** The page goes away, perhaps to be loaded again. */
  hide() {
    const one = this.#call;
    if (one?.accepted || one?.calls) this.#inbox.sendLast(one.peer, { type: "away", session: one.session });
  }

  /**
   * Sends a line of chat.
   * @param {string} text
   * @returns {boolean} whether it was sent
   */
  write(text) {
    return this.#call?.connection?.say({ type: "text", text }) ?? false;
  }

  /**
   * Takes a message out of the inbox. Anybody can have sent anything.
   * @param {string} from
   * @param {any} data
   */
  async take(from, data) {
    const session = data?.session;
    if (typeof session !== "string" || session.length > 64 || from === this.#id) return;
    if (data.type === "call") {
      this.#called(from, session);
      return;
    }
    const one = this.#call;
    if (one?.peer !== from || one.session !== session) {
      // Somebody goes on with a call that this page has left or forgotten.
      if (data.type === "description" && one?.peer !== from) this.#sendOnce(from, { type: "bye", session });
      return;
    }
    switch (data.type) {
      case "accept":
        if (!one.calls || one.accepted) return;
        step("accepted");
        this.#connect(one);
        break;
      case "busy":
        if (one.calls && !one.accepted) this.#finish(one, "busy");
        break;
      case "decline":
        if (one.calls && !one.accepted) this.#finish(one, "declined");
        break;
      case "bye":
        this.#finish(one, "bye");
        break;
      case "away":
        this.#away(one);
        break;
      default: {
        const signal = readSignal(data);
        if (signal) await one.connection?.receive(signal);
      }
    }
  }

  /**
   * Somebody calls.
   * @param {string} from
   * @param {string} session
   */
  #called(from, session) {
    const before = this.#call;
    if (before?.session === session) {
      // It was sent again: the answer has not arrived yet.
      if (before.accepted && before.peer === from) this.#sendOnce(from, { type: "accept", session });
      return;
    }
    if (before !== undefined && before.peer !== from) {
      this.#sendOnce(from, { type: "busy", session });
      return;
    }
    const both = before !== undefined && before.calls && !before.accepted;
    // Both call each other: one of the two calls wins, and both sides know which.
    if (both && before.session > session) return;
    if (before) this.#end(before);
    const one = this.#begin(from, session, false);
    if (before?.accepted) {
      // Their page was loaded again in the middle of a call.
      one.worked = before.worked;
      one.said = "reconnecting";
      step("returned");
      this.#accept(one);
      return;
    }
    step("called");
    if (both || !this.asks) {
      this.#accept(one);
    } else {
      showState("ringing", from);
      this.#timer(one, "rings", RINGS, () => this.#finish(one, "no-answer"));
    }
  }

  /** @param {Call} one */
  async #accept(one) {
    if (this.#own.closed) await this.#own.open();
    if (this.#call !== one) return;
    step("answered");
    this.#connect(one);
    this.#tell(one, { type: "accept" }).catch((error) => this.#notSent(one, error));
  }

  /**
   * @param {string} peer
   * @param {string} session
   * @param {boolean} calls
   */
  #begin(peer, session, calls) {
    this.#last = peer;
    /** @type {Call} */
    const one = { session, peer, calls, accepted: false, worked: false, ends: new AbortController(), timers: {} };
    this.#call = one;
    return one;
  }

  /** @param {Call} one */
  #connect(one) {
    one.accepted = true;
    this.#onchange();
    for (const name of ["rings", "repeat"]) clearTimeout(one.timers[name]);
    clearProblems("no-such-inbox", "no-path");
    showState(one.worked ? "reconnecting" : "connecting", one.peer);
    this.#timer(one, "slow", SLOW, () => showProblem("slow", { advanced: this.#onadvanced }));
    this.#timer(one, "lost", LOST, () => this.#finish(one, "no-path", "bye"));
    const current = () => this.#call === one;
    one.connection = new Connection({
      initiates: one.calls,
      stream: this.#own.stream,
      iceServers: usableIceServers(),
      send: (signal) => this.#tell(one, signal).catch((error) => {
        this.#notSent(one, error);
        throw error;
      }),
      events: {
        onstep: (name) => current() && this.#signaled(one, name),
        onstate: (state) => current() && this.#connectionChanged(one, state),
        onstream: (stream) => current() && showRemote(stream),
        onchannel: (open) => current() && this.#channelChanged(one, open),
        ondata: (data) => current() && this.#hear(one, data),
      },
    });
    if (one.calls) one.connection.start();
  }

  /**
   * @param {Call} one
   * @param {"offer-sent" | "offer-received" | "answer-sent" | "answer-received"} name
   */
  #signaled(one, name) {
    step(name);
    if (!one.worked && name.startsWith("answer")) step("connecting");
  }

  /**
   * @param {Call} one
   * @param {"connecting" | "connected" | "reconnecting" | "failed"} state
   */
  #connectionChanged(one, state) {
    if (state === "failed") return this.#finish(one, one.worked ? "lost" : "no-path", "bye");
    // What never worked is not interrupted.
    const now = state === "connected" ? state : one.worked ? "reconnecting" : "connecting";
    if (one.said === now) return;
    one.said = now;
    showState(now, one.peer);
    if (now !== "connected") {
      if (now === "reconnecting") step(now);
      this.#timer(one, "lost", LOST, () => this.#finish(one, one.worked ? "lost" : "no-path", "bye"));
      return;
    }
    one.worked = true;
    for (const name of ["slow", "lost", "away"]) clearTimeout(one.timers[name]);
    clearProblems("slow");
    this.#tellPath(one);
  }

  /** @param {Call} one */
  async #tellPath(one) {
    const path = await one.connection?.path();
    if (this.#call !== one || path === undefined) return;
    document.body.dataset.path = path.kind;
    const { short, long } = pathWords(path);
    showStatus(`${short} · ${one.peer}`);
    addLine("step", long, "connected");
  }

  /**
   * @param {Call} one
   * @param {boolean} open
   */
  #channelChanged(one, open) {
    showChat(open);
    if (open) {
      one.connection?.say(this.#own.told);
    } else {
      // Who hangs up says bye first; a channel that just closes is a page that went away.
      this.#away(one);
    }
  }

  /**
   * The other side left its page, perhaps to load it again.
   * @param {Call} one
   */
  #away(one) {
    if (!one.accepted) {
      if (!one.calls) this.#finish(one, "left");
      return;
    }
    if (one.timers.away !== undefined) return;
    one.said = undefined;
    showState(one.worked ? "reconnecting" : "connecting", one.peer);
    step("away");
    this.#timer(one, "away", ABSENCE, () => this.#finish(one, "left", "bye"));
  }

  /**
   * What came directly from the other side.
   * @param {Call} one
   * @param {any} data
   */
  #hear(one, data) {
    if (data?.type === "text" && typeof data.text === "string" && data.text !== "") {
      addLine("theirs", data.text);
    } else if (data?.type === "media") {
      document.body.dataset.theirCamera = data.camera === true ? "on" : "off";
      document.body.dataset.theirMicrophone = data.microphone === true ? "on" : "off";
    } else if (data?.type === "bye") {
      this.#finish(one, "bye");
    }
  }

  /**
   * Ends a call and says why.
   * @param {Call} one
   * @param {keyof typeof endings} why
   * @param {"bye" | "decline"} [farewell] to the other side
   */
  #finish(one, why, farewell) {
    if (this.#call !== one) return;
    this.#end(one, farewell && { type: "bye" });
    if (farewell) this.#sendOnce(one.peer, { type: farewell, session: one.session });
    document.body.dataset.ending = why;
    addLine("step", endings[why], why);
    // A call that came and led to nothing leaves the page as it was.
    if (one.calls || one.worked) this.rest = "ended";
    this.#onchange();
    if (this.rest === "ended") {
      this.asks = true;
      this.#own.close();
      element("over-text").textContent = endings[why];
    }
    showState(this.rest, one.peer);
    if (why === "no-path") showProblem(why, { advanced: this.#onadvanced });
  }

  /**
   * @param {Call} one
   * @param {unknown} [said] to the other side, directly
   */
  #end(one, said) {
    this.#call = undefined;
    one.ends.abort();
    for (const id of Object.values(one.timers)) clearTimeout(id);
    one.connection?.close(said);
    showRemote(undefined);
    for (const name of ["path", "theirCamera", "theirMicrophone"]) delete document.body.dataset[name];
    clearProblems("slow", "silent", ...transient);
    showChat(false);
  }

  /**
   * Sends a message of a call.
   * @param {Call} one
   * @param {object} data
   * @param {number} [patience]
   */
  async #tell(one, data, patience = 30 * SECOND) {
    await this.#inbox.send(one.peer, { ...data, session: one.session }, {
      signal: one.ends.signal,
      patience,
      onretry: (error) => {
        const name = problemOf(error);
        // Before anybody answered, a missing inbox is news; later it is one more hiccup.
        const news = transient.includes(name) && !(one.accepted && name === "no-such-inbox");
        if (this.#call === one && news) showProblem(name);
      },
    });
    clearProblems(...transient);
  }

  /**
   * Sends a message about a call that has ended here, or never began.
   * @param {string} peer
   * @param {object} data
   */
  #sendOnce(peer, data) {
    this.#inbox.send(peer, data, { signal: AbortSignal.timeout(10 * SECOND) }).catch(() => {});
  }

  /**
   * @param {Call} one
   * @param {unknown} error
   */
  #notSent(one, error) {
    if (this.#call !== one) return;
    const absent = error instanceof InboxError && error.code === "no-such-inbox";
    if (!absent) console.warn("a message was not sent", error);
    this.#finish(one, !absent ? "not-sent" : one.accepted ? "left" : "gave-up");
  }

  /**
   * @param {Call} one
   * @param {string} name
   * @param {number} milliseconds
   * @param {() => void} act
   */
  #timer(one, name, milliseconds, act) {
    clearTimeout(one.timers[name]);
    one.timers[name] = setTimeout(() => this.#call === one && act(), milliseconds);
  }
}

function usableIceServers() {
  try {
    return iceServers(loadIce());
  } catch {
    return []; // the form says what is wrong with them
  }
}
