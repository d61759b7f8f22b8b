import { randomId } from "./ids.js";
import type { Inbox } from "./messaging.js";
import { trim } from "./request.js";
import { createSide, type Side } from "./side.js";
import { isSignal, type Signal } from "./signal.js";

/** Bounds the calls that ring at once, and the byes that are sent to strangers at once. */
const MAX_RINGING = 50;
/** Bounds the sessions that are remembered after they ended. */
const MAX_OVER = 500;

/** All calls of one inbox. They share one loop over its messages. */
export interface Calls {
  /** Incoming calls that no loop of accept has taken yet. */
  readonly ringing: Side[];
  /** Callbacks for the next incoming call, or for the end of the loop. Each is called once. */
  readonly waiting: (() => void)[];
  /** Why the loop over messages ended, if it failed. */
  readonly failure: unknown;
  /** Keeps the loop running until the returned function is called. */
  hold(): () => void;
  /** Returns the call to or from this peer that is not connected yet. */
  pending(peer: string): Side | undefined;
  /** Creates an incoming call if there is a session, else an outgoing one. */
  create(peer: string, session?: string): Side;
}

const all = new WeakMap<Inbox, Calls>();

export function callsOf(inbox: Inbox): Calls {
  const calls = all.get(inbox) ?? createCalls(inbox);
  all.set(inbox, calls);
  return calls;
}

function createCalls(inbox: Inbox): Calls {
  const live = new Map<string, Side>();
  /** Sessions that are over. The function returns the bye for a peer who continues one. */
  const over = new Map<string, () => Signal | undefined>();
  let users = 0;
  let loop: AbortController | undefined;
  let failure: unknown;
  /** How many byes to strangers are being sent. */
  let refusals = 0;
  const ringing: Side[] = [];
  const waiting: (() => void)[] = [];

  const calls: Calls = {
    ringing,
    waiting,
    get failure() {
      return failure;
    },

    hold() {
      users++;
      if (!loop) void run((loop = new AbortController()));
      return () => {
        if (--users) return;
        loop?.abort();
        loop = undefined;
      };
    },

    pending(peer) {
      return [...live.values()].find((side) => side.peer === peer && !side.wasConnected);
    },

    create(peer, session) {
      let release = (): void => {};
      const side = createSide(
        inbox,
        peer,
        session ?? randomId(),
        session !== undefined,
        () => (release = calls.hold()),
        (bye) => {
          const at = ringing.indexOf(side);
          if (at >= 0) ringing.splice(at, 1);
          forget(peer, side.session, () => bye);
          sendBye(peer, bye).then(release);
        },
      );
      live.set(keyOf(peer, side.session), side);
      return side;
    },
  };
  return calls;

  /** The key includes the peer, so that no other peer can interfere with a session. */
  function keyOf(...of: [peer: string, session: string]): string {
    return JSON.stringify(of);
  }

  async function sendBye(peer: string, signal: Signal | undefined): Promise<void> {
    if (signal) await inbox.send(peer, signal, { last: true }).catch(() => {});
  }

  function forget(peer: string, session: string, bye: () => Signal | undefined = () => undefined): void {
    live.delete(keyOf(peer, session));
    over.set(keyOf(peer, session), bye);
    trim(over, MAX_OVER);
  }

  async function run({ signal }: AbortController): Promise<void> {
    failure = undefined;
    for (const side of live.values()) side.cause = failure;
    const leave = (): void => live.forEach((side) => side.fail("closed"));
    const page: Partial<EventTarget> = globalThis;
    page.addEventListener?.("pagehide", leave, { signal });
    const onreset = (): void => live.forEach((side) => side.repeat());
    try {
      for await (const { from, data } of inbox.messages({ signal, match: isSignal, onreset, first: true })) handle(from, data as Signal);
    } catch (error) {
      failure = error;
      loop = undefined;
      for (const side of live.values()) {
        if (side.wasConnected) side.cause = error;
        else side.end(error);
      }
      waiting.splice(0).forEach((wake) => wake());
    }
  }

  function handle(from: string, signal: Signal): void {
    const { session, type, n, replaces } = signal;
    if (replaces) forget(from, replaces);
    const key = keyOf(from, session);
    let side = live.get(key);
    if (!side) {
      if (type === "bye" || type === "candidates") return;
      if (over.has(key) || n !== 1 || type === "answer" || ringing.length >= MAX_RINGING) {
        if (refusals >= MAX_RINGING) return;
        refusals++;
        sendBye(from, over.has(key) ? over.get(key)!() : { type: "bye", session, why: "ended" }).then(() => refusals--);
        return;
      }
      // If both call at once, the call with the lesser session wins.
      const mine = [...live.values()].find((side) => side.peer === from && !side.polite && !side.answered);
      if (mine && mine.session < session) {
        // If our call fails before it reaches them, they continue theirs and get its bye.
        forget(from, session, () => mine.over.aborted ? { type: "bye", session, why: mine.over.reason?.code } : undefined);
        return;
      }
      if (mine) {
        forget(from, mine.session);
        mine.adopt(session);
        live.set(key, (side = mine));
      } else {
        ringing.push((side = calls.create(from, session)));
        waiting.splice(0).forEach((wake) => wake());
      }
    }
    side.handle(signal);
  }
}
