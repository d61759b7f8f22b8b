import { CallError, nothingTried, type CallErrorCode } from "./call-error.js";
import type { ConnectOptions, Connection } from "./connect.js";
import { InboxError } from "./errors.js";
import { ICE_SERVERS_TIMEOUT, causeOf, fetchIce, pathOf, report } from "./ice.js";
import type { Inbox } from "./messaging.js";
import { negotiate, type Negotiating, type Negotiation } from "./negotiation.js";
import type { Signal } from "./signal.js";
import { LONGEST_TIMER, onWake, waitFor } from "./wait.js";

/** How long an incoming call rings, in milliseconds. */
const RING_TIMEOUT = 60_000;
/** How long each step of connecting may take by default, in milliseconds: the answer, then the connection. */
const STEP_TIMEOUT = 30_000;
/** How long to wait for the network to recover before restarting ICE, in milliseconds. */
const RECOVERY_TIME = 4000;
/** The polite side waits this much longer, in milliseconds, so that both sides rarely restart at once. */
const POLITE_DELAY = 2000;
/**
 * How long to wait for more candidates when the first ones fail, in milliseconds. Relay candidates
 * arrive later than others, and a browser that may use only those fails before they are there.
 */
const LATE_CANDIDATES = 2000;
/** How long an established connection may be lost, in milliseconds. */
const LOST_TIMEOUT = 60_000;
/** When to renew credentials, in milliseconds per second of their lifetime: after nine tenths. */
const RENEW_AFTER = 900;
/** Bounds the signals that wait while the call rings or is set up. */
const MAX_QUEUED = 100;

/** One side of a call, from its first signal to its last. */
export interface Side extends Negotiating {
  readonly peer: string;
  session: string;
  /** Whether start was called: an incoming call then rings no longer. */
  started: boolean;
  /** Whether an answer was received or sent. */
  answered: boolean;
  /** Whether the connection has been established. */
  wasConnected: boolean;
  /** Why the inbox receives no longer. An established connection continues without it. */
  cause: unknown;
  readonly connected: Promise<Connection>;

  start(options: ConnectOptions): Promise<Connection>;
  handle(signal: Signal): void;
  /** Takes over the session of the call that the other side made at the same time. */
  adopt(session: string): void;
  /** Sends signals again that may have been lost. */
  repeat(): void;
  /** Ends the call. It sends a bye unless the other side knows. Only the first call of it has an effect. */
  end(error: unknown, known?: boolean): void;
  fail(code: CallErrorCode, reason?: string, known?: boolean, cause?: unknown): void;
}

/** Creates a side of a call. It calls onstart and onend at most once each. */
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
  /** Whether any signal has reached the other side. */
  let reached = false;
  /** Whether the application got the error that the other side has no inbox. */
  let absent = false;
  let pc: RTCPeerConnection | undefined;
  let close = (): void => {};
  let negotiation: Negotiation | undefined;
  let queued = 0;
  let begin!: () => void;
  /** Signals are handled one by one, from when the connection has been set up. */
  let turn = new Promise<void>((resolve) => (begin = resolve));
  let deadline: number | undefined;
  let recovery: number | undefined;
  /** Fetches ICE servers, unless they are a fixed list. */
  let fetchServers: (() => RTCIceServer[] | Promise<RTCIceServer[]>) | undefined;
  /** The timer that fetches them again before they expire. */
  let renewal: number | undefined;
  let reportsOutcome: boolean | undefined;
  /** The fault that the browser reported for a STUN or TURN server. */
  let serverFault: string | undefined;
  /** Whether such a server did not answer over UDP and IPv4. */
  let udpSilent = false;
  /** When the first answer arrived. */
  let answeredAt: number | undefined;
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
    wasConnected: false,
    cause: undefined,
    connected: new Promise((...both) => ([resolve, reject] = both)),

    start(options) {
      const { signal, timeout = STEP_TIMEOUT } = options;
      side.started = true;
      reportsOutcome = options.outcomes !== false;
      if (!globalThis.RTCPeerConnection) {
        side.fail("no-webrtc");
        return side.connected;
      }
      onstart();
      wait = options.wait;
      onerror = options.onerror ?? onerror;
      expire(timeout + (wait ?? 0));
      side.agreed = () => {
        // The connection can be established before the answer is fully handled.
        if (!side.answered && !side.wasConnected) expire(timeout);
        side.answered = true;
      };
      const abort = (): void => {
        if (!side.wasConnected) side.end(signal?.reason);
      };
      signal?.addEventListener("abort", abort, over);
      if (signal?.aborted) abort();
      prepare(options).catch((error) => side.fail("setup-failed", undefined, false, error));
      return side.connected;
    },

    handle(signal) {
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
        if (type === "answer") answeredAt ??= Date.now();
        queued++;
        const handle = (): Promise<void> => negotiation!.handle(signal);
        turn = turn.then(handle).catch(() => {}).then(() => void queued--); // ignores invalid signals
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

    async sendSignal(signal) {
      await inbox.send(peer, { ...signal, session: side.session }, { signal: sends.signal, wait: reached ? STEP_TIMEOUT : wait });
      reached = true;
      absent = false;
    },

    agreed() {},

    refused(error) {
      if (!(error instanceof InboxError)) return false;
      const gone = error.code === "no-such-inbox";
      if (!reached) side.end(gone ? new CallError("no-such-peer", tried, undefined, error) : error, gone || !side.polite);
      // An absent peer may return, so the same offer is sent again.
      if (gone && !absent && pc?.connectionState === "connected") {
        absent = true;
        side.reportError(error);
      }
      return !error.passes && !gone;
    },

    reportError(error) {
      if (!over.signal.aborted) queueMicrotask(() => onerror(error as InboxError));
    },

    failure: (cause, reason) => new CallError(reason ? "peer-failed" : "setup-failed", tried, reason, cause),

    end(error, known) {
      if (over.signal.aborted) return;
      const { code, reason }: { code: CallErrorCode; reason?: string | undefined } =
        error instanceof CallError ? error : { code: error instanceof InboxError ? "setup-failed" : "closed" };
      if (!side.wasConnected && /^ice|^no-w/.test(code)) {
        tried.cause = pc ? causeOf(pc, tried, serverFault, udpSilent) : code;
        reportOutcome({ result: "failed", cause: tried.cause });
      }
      over.abort(error);
      sends.abort();
      clearTimeout(deadline);
      clearTimeout(recovery);
      clearTimeout(renewal);
      // First of all send the bye: some browsers give a page that is left little time.
      // Before the first offer the other side knows nothing of the call, and needs none.
      onend(known || !(side.polite || tried.offers) ? undefined : { type: "bye", session: side.session, why: code, reason });
      reject(error);
      close();
      // A browser fires no event for a connection that the page closes. The application did not close this one.
      if (code !== "closed") pc?.dispatchEvent(new Event("connectionstatechange"));
    },

    fail(code, reason, known, cause = side.cause) {
      side.end(new CallError(code, tried, reason, cause), known);
    },
  };
  side.connected.catch(() => {}); // no unhandled rejection if nothing awaits it
  onWake((online) => {
    if (online && side.wasConnected) void restart();
  }, over);
  expire(RING_TIMEOUT);
  return side;

  async function prepare({ iceServers, configuration, setup }: ConnectOptions): Promise<void> {
    if (typeof iceServers === "function") iceServers = await (fetchServers = iceServers)();
    else if (!(iceServers ?? configuration?.iceServers)) iceServers = await (fetchServers = fetchOffered)().catch(() => undefined); // the server offers none
    over.signal.throwIfAborted();
    try {
      setUp(new RTCPeerConnection({ bundlePolicy: "max-bundle", ...configuration, ...(iceServers && { iceServers }) }));
    } catch (error) {
      try {
        new RTCPeerConnection().close();
      } catch {
        side.fail("no-webrtc", undefined, false, error);
      }
      throw error; // the configuration is at fault
    }
    await setup?.(pc!);
    over.signal.throwIfAborted();
    await negotiation!.begin();
    begin();
  }

  /** Fetches the ICE servers that the inbox server offers, and schedules the next time. */
  async function fetchOffered(): Promise<RTCIceServer[]> {
    const { iceServers, ttl } = await fetchIce(inbox, over.signal);
    clearTimeout(renewal);
    if (ttl > 60) renewal = setTimeout(renew, Math.min(ttl * RENEW_AFTER, LONGEST_TIMER));
    return iceServers;
  }

  /** Fetches ICE servers for the next time that ICE gathers candidates. */
  async function renew(): Promise<void> {
    try {
      pc!.setConfiguration({ ...pc!.getConfiguration(), iceServers: await waitFor(ICE_SERVERS_TIMEOUT, over.signal, (async () => fetchServers!())()) });
    } catch {
      // The connection keeps the servers that it has.
    }
  }

  /** Reports to the server how the call went. Only the caller does. */
  function reportOutcome(words: object): void {
    if (reportsOutcome && !side.polite) report(inbox, answeredAt, words).catch(() => {});
  }

  function expire(ms: number): void {
    clearTimeout(deadline);
    deadline = setTimeout(() => side.fail(side.answered ? "ice-failed" : "no-answer"), Math.min(ms, LONGEST_TIMER));
  }

  function setUp(plain: RTCPeerConnection): void {
    const ended = new Promise<CallError>((resolve) => over.signal.addEventListener("abort", () => resolve(over.signal.reason)));
    const made = (pc = Object.assign(plain, { ended }));
    close = made.close.bind(made);
    made.close = () => side.fail("closed");
    negotiation = negotiate(made, side);
    made.addEventListener("icecandidateerror", ({ errorCode, errorText, url, address }) => {
      serverFault ??= errorCode === 401 ? "relay-refused" : errorCode === 486 ? "relay-busy" : /lookup/.test(errorText) ? "dns" : undefined;
      // On a network without IPv6 every server is silent over it, which is harmless.
      if (errorCode === 701 && !/turns|=tcp/.test(url) && !/:/.test(address!)) udpSilent = true;
    });
    made.addEventListener("connectionstatechange", () => {
      const state = made.connectionState;
      clearTimeout(recovery);
      if (state === "connected") {
        clearTimeout(deadline);
        deadline = undefined;
        if (!side.wasConnected) reportOutcome(pathOf(made, over.signal));
        side.wasConnected = true;
        resolve(made);
      } else if (state === "failed" || state === "disconnected") {
        if (!deadline) expire(LOST_TIMEOUT);
        recovery = setTimeout(recover, (state !== "failed" ? RECOVERY_TIME : side.wasConnected ? 0 : LATE_CANDIDATES) + (side.polite ? POLITE_DELAY : 0));
      }
    });
  }

  function recover(): void {
    if (!side.wasConnected && tried.restarts) {
      side.fail("ice-failed");
      return;
    }
    tried.restarts++;
    void restart();
  }

  /** Restarts ICE. It renews the TURN credentials first, since they may have expired. */
  async function restart(): Promise<void> {
    if (fetchServers) await renew();
    pc!.restartIce(); // has no effect if the connection was closed meanwhile
  }
}
