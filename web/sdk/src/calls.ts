import { randomId } from "./ids.js";
import type { Inbox } from "./messaging.js";
import { trim } from "./request.js";
import { createSide, type Side } from "./side.js";
import { isSignal, type Signal } from "./signal.js";

/** Bounds of what strangers can make us keep. */
const MAX_RINGING = 50;
const MAX_FORGOTTEN = 500;

/** All calls of one inbox: they share one loop over its messages. */
export interface Calls {
  /** Those who ring, until somebody takes them. */
  readonly ringing: Side[];
  /** To be called when there is something new, once. */
  readonly waiting: (() => void)[];
  /** Why there will be nothing new. */
  readonly failure: unknown;
  /** Receives from now on, until what it returns is called. */
  hold(): () => void;
  /** A call of this peer, or with it, that is not connected yet. */
  pending(peer: string): Side | undefined;
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
  /** Sessions that are over, with what makes the answer to somebody who goes on with them. */
  const over = new Map<string, () => Signal | undefined>();
  let users = 0;
  let loop: AbortController | undefined;
  let failure: unknown;
  /** How many strangers are being told that nobody knows their call. */
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
      return [...live.values()].find((side) => side.peer === peer && !side.worked);
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
          say(peer, bye).then(release);
        },
      );
      live.set(name(peer, side.session), side);
      return side;
    },
  };
  return calls;

  /** No other peer can meddle with a session. */
  function name(...of: [peer: string, session: string]): string {
    return JSON.stringify(of);
  }

  async function say(peer: string, signal: Signal | undefined): Promise<void> {
    if (signal) await inbox.send(peer, signal, { last: true }).catch(() => {});
  }

  function forget(peer: string, session: string, bye: () => Signal | undefined = () => undefined): void {
    live.delete(name(peer, session));
    over.set(name(peer, session), bye);
    trim(over, MAX_FORGOTTEN);
  }

  async function run({ signal }: AbortController): Promise<void> {
    failure = undefined;
    for (const side of live.values()) side.cause = failure;
    const leave = (): void => live.forEach((side) => side.fail("closed"));
    const page: Partial<EventTarget> = globalThis;
    page.addEventListener?.("pagehide", leave, { signal });
    const onreset = (): void => live.forEach((side) => side.repeat());
    try {
      for await (const { from, data } of inbox.messages({ signal, match: isSignal, onreset, first: true })) hear(from, data as Signal);
    } catch (error) {
      failure = error;
      loop = undefined;
      for (const side of live.values()) {
        if (side.worked) side.cause = error;
        else side.end(error);
      }
      waiting.splice(0).forEach((wake) => wake());
    }
  }

  function hear(from: string, signal: Signal): void {
    const { session, type, n, replaces } = signal;
    if (replaces) forget(from, replaces);
    const named = name(from, session);
    let side = live.get(named);
    if (!side) {
      if (type === "bye" || type === "candidates") return;
      if (over.has(named) || n !== 1 || type === "answer" || ringing.length >= MAX_RINGING) {
        if (refusals >= MAX_RINGING) return;
        refusals++;
        say(from, over.has(named) ? over.get(named)!() : { type: "bye", session, why: "ended" }).then(() => refusals--);
        return;
      }
      // If both call at once, the call with the lesser name is the one.
      const mine = [...live.values()].find((side) => side.peer === from && !side.polite && !side.answered);
      if (mine && mine.session < session) {
        // It may fail before they hear of it, and they go on with theirs.
        forget(from, session, () => mine.over.aborted ? { type: "bye", session, why: mine.over.reason?.code } : undefined);
        return;
      }
      if (mine) {
        forget(from, mine.session);
        mine.adopt(session);
        live.set(named, (side = mine));
      } else {
        ringing.push((side = calls.create(from, session)));
        waiting.splice(0).forEach((wake) => wake());
      }
    }
    side.hear(signal);
  }
}
