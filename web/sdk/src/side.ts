import { CallError, nothingTried, type CallErrorCode } from "./call-error.js";
import type { ConnectOptions, Connection } from "./connect.js";
import { InboxError } from "./errors.js";
import { ICE_SERVERS_TIMEOUT, causeOf, fetchIce, pathOf, report } from "./ice.js";
import type { Inbox } from "./messaging.js";
import { negotiate, type Negotiating, type Negotiation } from "./negotiation.js";
import type { Signal } from "./signal.js";
import { LONGEST_TIMER, inTime, onWake } from "./wait.js";

/** How long a call rings, and how long each step of connecting takes, at most. */
const RING_TIMEOUT = 60_000;
const STEP_TIMEOUT = 30_000;
/** How long to wait for the network to recover before restarting ICE. */
const RECOVERY_TIME = 4000;
/** The polite side waits this much longer, so that both sides rarely restart at once. */
const POLITE_DELAY = 2000;
/**
 * How long to wait for more candidates when the first ones lead nowhere. Those of a relay come
 * later than others, and a browser that may use nothing else gives up before they are there.
 */
const LATE_CANDIDATES = 2000;
/** How long a connection that worked may be gone. */
const LOST_TIMEOUT = 60_000;
/** After how much of their time credentials are renewed, in milliseconds for each second. */
const RENEW_AFTER = 900;
/** How many signals are kept that cannot be heard yet, while it rings or is set up. */
const MAX_QUEUED = 100;

/** One side of a call, from its first signal to its last. */
export interface Side extends Negotiating {
  readonly peer: string;
  session: string;
  /** Whether it does not ring any more. */
  started: boolean;
  /** Whether the other side has answered, or was answered. */
  answered: boolean;
  /** Whether it was connected once. */
  worked: boolean;
  /** Why nothing is received any more: what was connected goes on without. */
  cause: unknown;
  readonly connected: Promise<Connection>;

  start(options: ConnectOptions): Promise<Connection>;
  hear(signal: Signal): void;
  /** Becomes the call that the other side has made at the same time. */
  adopt(session: string): void;
  /** Says again what may have been lost. */
  repeat(): void;
  /** Ends, and says so to the other side if it does not know. */
  end(error: unknown, known?: boolean): void;
  fail(code: CallErrorCode, reason?: string, known?: boolean, cause?: unknown): void;
}

/** Makes a side of a call. onstart and onend are called once each, at most. */
export function createSide(
  inbox: Inbox,
  peer: string,
  session: string,
  polite: boolean,
  onstart: () => void,
  onend: (bye?: Signal) => void,
): Side {
  const over = new AbortController();
  const tried = nothingTried();
  let sends = new AbortController();
  let wait: number | undefined;
  /** Whether anything has reached the other side. */
  let heard = false;
  /** Whether the application knows that the other side has no inbox any more. */
  let absent = false;
  let pc: RTCPeerConnection | undefined;
  let close = (): void => {};
  let negotiation: Negotiation | undefined;
  let queued = 0;
  let begin!: () => void;
  /** Signals are handled one after the other, once the connection has been set up. */
  let turn = new Promise<void>((resolve) => (begin = resolve));
  let limit: number | undefined;
  let mending: number | undefined;
  /** Fetches ICE servers, if that is how they come. */
  let fresh: (() => RTCIceServer[] | Promise<RTCIceServer[]>) | undefined;
  /** Fetches them again before they expire. */
  let renewal: number | undefined;
  let reports: boolean | undefined;
  /** What the browser said that a STUN or TURN server was at fault for. */
  let fault: string | undefined;
  /** Whether one did not answer over UDP and IPv4. */
  let silent = false;
  /** When the other side answered. */
  let since: number | undefined;
  let onerror: NonNullable<ConnectOptions["onerror"]> = console.error;
  let resolve!: (pc: Connection) => void;
  let reject!: (error: unknown) => void;

  const side: Side = {
    peer,
    session,
    polite,
    replaces: undefined,
    tried,
    over: over.signal,
    started: false,
    answered: false,
    worked: false,
    cause: undefined,
    connected: new Promise((...both) => ([resolve, reject] = both)),

    start(options) {
      const { signal, timeout = STEP_TIMEOUT } = options;
      side.started = true;
      reports = options.outcomes !== false;
      if (!globalThis.RTCPeerConnection) {
        side.fail("no-webrtc");
        return side.connected;
      }
      onstart();
      wait = options.wait;
      onerror = options.onerror ?? onerror;
      expire(timeout + (wait ?? 0));
      side.agreed = () => {
        // It can be connected before everything about the answer is done.
        if (!side.answered && !side.worked) expire(timeout);
        side.answered = true;
      };
      const abort = (): void => {
        if (!side.worked) side.end(signal?.reason);
      };
      signal?.addEventListener("abort", abort, over);
      if (signal?.aborted) abort();
      prepare(options).catch((error) => side.fail("setup-failed", undefined, false, error));
      return side.connected;
    },

    hear(signal) {
      const { type, why, reason } = signal;
      if (type === "bye") {
        const failed = why === "no-webrtc" || why === "setup-failed";
        side.fail(
          failed ? "peer-failed" : why === "rejected" || why === "ice-failed" ? why : "ended",
          failed ? why : typeof reason === "string" ? reason : undefined,
          true,
        );
      }
      else if (queued < MAX_QUEUED) {
        if (type === "answer") since ??= Date.now();
        queued++;
        const handle = (): Promise<void> => negotiation!.hear(signal);
        turn = turn.then(handle).catch(() => {}).then(() => void queued--); // nonsense is let pass
      }
    },

    adopt(session) {
      side.replaces = side.session;
      side.session = session;
      side.polite = true;
      sends.abort();
      sends = new AbortController();
    },

    repeat() {
      negotiation?.repeat();
    },

    async say(signal) {
      await inbox.send(peer, { ...signal, session: side.session }, { signal: sends.signal, wait: heard ? STEP_TIMEOUT : wait });
      heard = true;
      absent = false;
    },

    agreed() {},

    refused(error) {
      if (!(error instanceof InboxError)) return false;
      const gone = error.code === "no-such-inbox";
      if (!heard) side.end(gone ? new CallError("no-such-peer", tried, undefined, error) : error, gone || !side.polite);
      // A peer who is away may come back: it is offered the same again.
      if (gone && !absent && pc?.connectionState === "connected") {
        absent = true;
        side.tell(error);
      }
      return !error.passes && !gone;
    },

    tell(error) {
      if (!over.signal.aborted) queueMicrotask(() => onerror(error as InboxError));
    },

    failure: (code, reason, cause) => new CallError(code, tried, reason, cause),

    end(error, known) {
      if (over.signal.aborted) return;
      const code = error instanceof CallError ? error.code : error instanceof InboxError ? "setup-failed" : "closed";
      const reason = error instanceof CallError ? error.reason : undefined;
      if (!side.worked && /^ice|^no-w/.test(code)) {
        tried.cause = pc ? causeOf(pc, tried, fault, silent) : code;
        tellOutcome({ result: "failed", cause: tried.cause });
      }
      over.abort(error);
      sends.abort();
      clearTimeout(limit);
      clearTimeout(mending);
      clearTimeout(renewal);
      // Before all that takes time: of a page that is left, some browsers let little be done.
      // The other side knows nothing of a call before its first offer.
      onend(known || !(side.polite || tried.offers) ? undefined : { type: "bye", session: side.session, why: code, reason });
      reject(error);
      close();
      // A browser tells only of what it has closed itself.
      if (code !== "closed") pc?.dispatchEvent(new Event("connectionstatechange"));
    },

    fail(code, reason, known, cause = side.cause) {
      side.end(new CallError(code, tried, reason, cause), known);
    },
  };
  side.connected.catch(() => {}); // perhaps nobody waits for it
  onWake((online) => {
    if (online && side.worked) void restart();
  }, over);
  expire(RING_TIMEOUT);
  return side;

  async function prepare({ iceServers, configuration, setup }: ConnectOptions): Promise<void> {
    if (typeof iceServers === "function") iceServers = await (fresh = iceServers)();
    else if (!(iceServers ?? configuration?.iceServers)) iceServers = await (fresh = known)().catch(() => undefined); // none that it knows
    over.signal.throwIfAborted();
    try {
      connection(new RTCPeerConnection({ bundlePolicy: "max-bundle", ...configuration, ...(iceServers && { iceServers }) }));
    } catch (error) {
      try {
        new RTCPeerConnection().close();
      } catch {
        side.fail("no-webrtc", undefined, false, error);
      }
      throw error; // what it was configured with is at fault
    }
    await setup?.(pc!);
    over.signal.throwIfAborted();
    await negotiation!.begin();
    begin();
  }

  /** The ICE servers that the inbox server knows. */
  async function known(): Promise<RTCIceServer[]> {
    const { iceServers, ttl } = await fetchIce(inbox, over.signal);
    clearTimeout(renewal);
    if (ttl > 60) renewal = setTimeout(renew, Math.min(ttl * RENEW_AFTER, LONGEST_TIMER));
    return iceServers;
  }

  /** Fetches ICE servers for what gathers from now on. */
  async function renew(): Promise<void> {
    try {
      pc!.setConfiguration({ ...pc!.getConfiguration(), iceServers: await inTime(ICE_SERVERS_TIMEOUT, over.signal, (async () => fresh!())()) });
    } catch {
      // With those that it has.
    }
  }

  /** Reports to the server how the call went: the one who calls does so. */
  function tellOutcome(words: object): void {
    if (reports && !side.polite) report(inbox, since, words).catch(() => {});
  }

  function expire(ms: number): void {
    clearTimeout(limit);
    limit = setTimeout(() => side.fail(side.answered ? "ice-failed" : "no-answer"), Math.min(ms, LONGEST_TIMER));
  }

  function connection(plain: RTCPeerConnection): void {
    const ended = new Promise<CallError>((resolve) => over.signal.addEventListener("abort", () => resolve(over.signal.reason)));
    const made = (pc = Object.assign(plain, { ended }));
    close = made.close.bind(made);
    made.close = () => side.fail("closed");
    negotiation = negotiate(made, side);
    made.addEventListener("icecandidateerror", ({ errorCode, errorText, url, address }) => {
      fault ??= errorCode === 401 ? "relay-refused" : errorCode === 486 ? "relay-busy" : /lookup/.test(errorText) ? "dns" : undefined;
      // Without IPv6, all servers are silent over it, which harms nobody.
      if (errorCode === 701 && !/turns|=tcp/.test(url) && !/:/.test(address!)) silent = true;
    });
    made.addEventListener("connectionstatechange", () => {
      const state = made.connectionState;
      clearTimeout(mending);
      if (state === "connected") {
        clearTimeout(limit);
        limit = undefined;
        if (!side.worked) tellOutcome(pathOf(made, over.signal));
        side.worked = true;
        resolve(made);
      } else if (state === "failed" || state === "disconnected") {
        if (!limit) expire(LOST_TIMEOUT);
        mending = setTimeout(mend, (state !== "failed" ? RECOVERY_TIME : side.worked ? 0 : LATE_CANDIDATES) + (side.polite ? POLITE_DELAY : 0));
      }
    });
  }

  function mend(): void {
    if (!side.worked && tried.restarts) {
      side.fail("ice-failed");
      return;
    }
    tried.restarts++;
    void restart();
  }

  /** Begins ICE anew. What a TURN server was used with may have expired by now. */
  async function restart(): Promise<void> {
    if (fresh) await renew();
    pc!.restartIce(); // of no effect on what is closed meanwhile
  }
}
