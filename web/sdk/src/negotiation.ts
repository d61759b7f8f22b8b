import type { CallError, Tried } from "./call-error.js";
import { InboxError } from "./errors.js";
import { noteCandidates, type SendSignal, type Signal } from "./signal.js";
import { pause } from "./wait.js";

/** When to repeat an offer that was not answered, in milliseconds. */
const REPEAT_AFTER = 4000;
/** How long candidates wait for others and for their description, in milliseconds, to go out together. */
const GATHER_TIME = 10;
/** How long to wait for the first candidate before rolling back an offer, in milliseconds. Without a candidate, Chromium sometimes gathers no more. */
const FIRST_CANDIDATE_TIMEOUT = 500;

/** Bounds the candidates that wait for their description. */
const MAX_EARLY = 200;

/** The id of this module's data channel: the last one that browsers support, which applications are unlikely to use. */
const UNUSED_CHANNEL = 1023;

type Description = Omit<Signal, "session">;

/** What a negotiation needs of its call. */
export interface Negotiating {
  readonly tried: Tried;
  /** Whether this side drops its offer when both sides make one. */
  polite: boolean;
  /** The session of this side's call that this one replaced. */
  replaces: string | undefined;
  readonly over: AbortSignal;
  readonly sendSignal: SendSignal;
  /** Whether the first offer was answered. From then on there is a state to roll back to. */
  readonly answered: boolean;
  /** Called when an offer was answered. */
  agreed(): void;
  /** Reports whether the server refused a signal for good. If no signal has reached the other side yet, it ends the call. */
  refused(error: unknown): boolean;
  /** Reports a change that failed to the application. The connection continues. */
  reportError(error: unknown): void;
  /** Creates a `setup-failed` of this call, or a `peer-failed` if the other side gave a reason. */
  failure(cause?: unknown, reason?: string): CallError;
  end(error: unknown): void;
}

export interface Negotiation {
  /** Starts the negotiation. The impolite side makes an offer. */
  begin(): Promise<void>;
  handle(signal: Signal): Promise<void>;
  /** Sends signals again that may have been lost. */
  repeat(): void;
}

/**
 * Negotiates one connection by perfect negotiation (W3C WebRTC, 10.7), over a channel that
 * may lose, repeat and delay signals.
 */
export function negotiate(pc: RTCPeerConnection, call: Negotiating): Negotiation {
  let begun = false;
  let making = false;
  /** Whether another offer became necessary while one was being made. */
  let missed = false;
  /** The number of our last offer, and of theirs. */
  let ours = 0;
  let theirs = 0;
  /** Our last offer, as it was sent. */
  let offered: Description | undefined;
  /** Our answer to their last offer. */
  let answer: Description;
  let offering: Promise<void> | undefined;
  let timer: number | undefined;
  const early: RTCIceCandidateInit[] = [];
  const gathered: RTCIceCandidateInit[] = [];
  let sent = 0;
  let sending = false;
  /** Whether the last offer has had a candidate, and what the first one calls. */
  let first = false;
  let wake = (): void => {};
  /** The change that a refused offer would have made. It is not offered again until the application wants another one. */
  let refused: string | undefined;
  /** Whether the application knows that candidates of the last offer were refused. */
  let reported = false;

  pc.addEventListener("negotiationneeded", () => begun && offer());
  pc.addEventListener("icecandidate", ({ candidate }) => {
    noteCandidates(call.tried, "local", candidate?.candidate);
    gathered.push(candidate ?? { candidate: "" });
    setTimeout(flush, GATHER_TIME);
    first = true;
    wake();
  });
  call.over.addEventListener("abort", () => clearTimeout(timer));

  return {
    async begin() {
      if (!call.polite) {
        // An offer without media cannot connect. This channel, which the other side never opens, adds a section for data.
        if (!(await pc.createOffer()).sdp?.includes("m=")) pc.createDataChannel("", { negotiated: true, id: UNUSED_CHANNEL });
        await offer();
      }
      begun = true;
    },

    async handle({ type, n, sdp, candidates, why }) {
      if (type === "candidates") {
        const all = [candidates ?? []].flat().flatMap(readCandidate);
        // Some implementations put the end of candidates first.
        for (const candidate of all) if (candidate.candidate) await add(candidate);
        if (all.some(({ candidate }) => !candidate)) await add({ candidate: "" });
        return;
      }
      if (type === "offer") {
        if (n! <= theirs) {
          // We answered, but the answer may be lost, and they ignore our offers until they have it.
          if (n === theirs) sendDescription(answer);
          return;
        }
        if (making || pc.signalingState !== "stable") {
          if (!call.polite) return;
          ours++; // an answer to the offer on its way no longer counts
          if (!first) await pause(FIRST_CANDIDATE_TIMEOUT, call.over, (act) => void (wake = act));
          gathered.length = sent = 0;
        }
        theirs = n!;
      } else {
        await offering; // the answer can arrive before our send is confirmed
        if (n !== ours || pc.signalingState !== "have-local-offer") return; // it answers a dropped offer, or repeats an answer
      }
      try {
        if (why) throw why;
        noteCandidates(call.tried, "remote", sdp);
        await pc.setRemoteDescription({ type: type as "offer", sdp: sdp! });
        for (const candidate of early.splice(0)) await add(candidate);
        if (type === "offer") await reply();
      } catch (error) {
        if (type === "answer") {
          // A first offer waits for another answer. A later one is rolled back, so that others can follow.
          if (call.answered) await rollBack(call.failure(why ? undefined : error, why && `${why}`));
        } else if (typeof sdp === "string") await refuse(error);
        return;
      }
      call.agreed();
    },

    repeat() {
      if (pc.signalingState !== "have-local-offer" && pc.connectionState === "connected") return;
      if (pc.localDescription) describe();
      sent = 0;
      void flush();
    },
  };

  /** Makes an offer. Only one is made at a time. */
  async function offer(): Promise<void> {
    missed = making;
    if (making || call.over.aborted) return;
    making = true;
    clearTimeout(timer);
    await (offering = (call.answered ? offerChange() : offerFirst()).catch((error) => call.reportError(call.failure(error))));
    making = false;
    if (missed) await offer();
  }

  async function offerFirst(): Promise<void> {
    first = false;
    await pc.setLocalDescription();
    if (pc.signalingState !== "have-local-offer") return;
    ours++;
    describe();
  }

  /** Offers a change. The local description is set only when the other side has the offer, so that a refused one changes nothing. */
  async function offerChange(): Promise<void> {
    const { sdp } = await pc.createOffer();
    if (pc.signalingState !== "stable") return; // their offer is answered first
    // The browser fires no other negotiationneeded before this change is negotiated, so look again later.
    later(offer);
    if (changesOf(pc, sdp) === refused) return;
    refused = undefined;
    reported = false;
    const n = ++ours;
    call.tried.offers++;
    try {
      await call.sendSignal((offered = { type: "offer", n, sdp: keepRole(pc, sdp!) }));
    } catch (error) {
      if (n !== ours || !call.refused(error)) return;
      refused = changesOf(pc, sdp);
      call.reportError(error);
      return;
    }
    if (n !== ours || pc.signalingState !== "stable") return;
    try {
      await pc.setLocalDescription({ type: "offer", sdp: sdp! });
    } catch (error) {
      refused = changesOf(pc, sdp); // the answer of the other side will be ignored
      throw error;
    }
    later(repeat);
  }

  function later(act: () => unknown): void {
    clearTimeout(timer);
    if (!call.over.aborted) timer = setTimeout(act, REPEAT_AFTER);
  }

  function repeat(): void {
    if (pc.signalingState === "have-local-offer") describe();
  }

  /** Answers an offer. */
  async function reply(): Promise<void> {
    if (!call.answered) {
      await pc.setLocalDescription();
      describe();
      return;
    }
    // As with an offer, set the description only when the other side has the answer.
    const { sdp } = await pc.createAnswer();
    await call.sendSignal((answer = { type: "answer", n: theirs, sdp: sdp! }));
    await pc.setLocalDescription({ type: "answer", sdp: sdp! });
  }

  /** Refuses an offer. */
  async function refuse(error: unknown): Promise<void> {
    if (call.over.aborted) return;
    // Chromium needs the rollback even if it reports to be stable.
    await pc.setRemoteDescription({ type: "rollback", sdp: "" }).catch(() => {});
    if (error instanceof InboxError && !call.refused(error)) {
      theirs--; // they repeat the offer
      return;
    }
    const failure = error instanceof InboxError ? error : call.failure(error);
    if (!call.answered) return call.end(failure);
    call.reportError(failure);
    answer = { type: "answer", n: theirs, why: failure.code };
    await call.sendSignal(answer).catch(() => {});
  }

  /** Rolls back an offer that failed. */
  async function rollBack(error: unknown): Promise<void> {
    if (pc.signalingState !== "have-local-offer") return;
    refused = changesOf(pc, pc.localDescription!.sdp);
    gathered.length = sent = 0;
    await pc.setLocalDescription({ type: "rollback", sdp: "" });
    call.reportError(error);
  }

  /** Sends the current offer or answer. */
  function describe(): void {
    const { type, sdp } = pc.localDescription!;
    if (type === "offer") sendDescription(offered?.n === ours ? offered : { type, n: ours, sdp: keepRole(pc, sdp) });
    else sendDescription((answer = { type: "answer", n: theirs, sdp, replaces: call.replaces }));
  }

  function sendDescription(description: Description): void {
    if (description.type === "offer") call.tried.offers++;
    const again = (): void => later(repeat);
    clearTimeout(timer);
    call.sendSignal(description).then(again, (error) => {
      if (!call.refused(error) || !call.answered) again();
      else if (description.type === "answer") call.reportError(error);
      else if (description.n === ours) rollBack(error).catch(() => {}); // the connection was closed meanwhile
    });
  }

  async function flush(): Promise<void> {
    if (sending) return;
    sending = true;
    while (sent < gathered.length && !call.over.aborted) {
      const candidates = gathered.slice(sent);
      sent = gathered.length;
      await sendCandidates(candidates);
    }
    sending = false;
  }

  /** Sends candidates, in halves if the server finds them too large. */
  async function sendCandidates(candidates: RTCIceCandidateInit[]): Promise<void> {
    try {
      await call.sendSignal({ type: "candidates", candidates });
    } catch (error) {
      const half = candidates.length >> 1;
      if (half && error instanceof InboxError && error.code === "too-large") {
        await sendCandidates(candidates.slice(0, half));
        await sendCandidates(candidates.slice(half));
      } else if (!reported && call.refused(error)) {
        reported = true;
        call.reportError(error);
      }
    }
  }

  async function add(candidate: RTCIceCandidateInit): Promise<void> {
    noteCandidates(call.tried, "remote", candidate.candidate);
    if (pc.remoteDescription) await pc.addIceCandidate(candidate).catch(() => {}); // it belongs to an ignored offer, or is invalid
    else if (early.length < MAX_EARLY) early.push(candidate);
  }
}

/** Reads a candidate in any form that implementations send. An empty one is the end of candidates. An invalid one is dropped. */
function readCandidate(given: unknown): RTCIceCandidateInit[] {
  const { candidate, ...others } = (typeof given === "object" ? (given ?? {}) : { candidate: given }) as RTCIceCandidateInit;
  if (typeof (candidate ?? "") !== "string") return [];
  const text = (candidate ?? "").trim().replace(/^a=/, "").replace(/^end-of-candidates$/, "");
  others.sdpMid ||= null;
  others.sdpMLineIndex ??= others.sdpMid ? null : 0;
  return [text ? { ...others, candidate: text } : { candidate: "" }];
}

/** Returns what an offer would change, to recognize the same change in another offer. */
function changesOf({ currentLocalDescription: now }: RTCPeerConnection, sdp = ""): string {
  const [all, agreed] = [sdp, now?.sdp ?? ""].map((text) => text.split(/^m=/m).slice(1)) as [string[], string[]];
  const direction = (section: string): string => `${/^a=(send|recv|inactive)\w*/m.exec(section)}`;
  return `${all
    .filter((section, i) => !agreed[i] || direction(section) !== direction(agreed[i]))
    .map((section) => section.match(/^\w+|^a=(send|recv|inactive|rtpmap)\w*/gm))}`;
}

/**
 * States in an offer which DTLS role this side has, once that is agreed (RFC 8842,
 * section 5.5). Given the choice, Firefox changes its role when ICE restarts, and
 * Chromium rejects that answer.
 */
function keepRole({ currentLocalDescription: local, currentRemoteDescription: remote }: RTCPeerConnection, sdp: string): string {
  const setup = (description: RTCSessionDescription | null): string | undefined => /a=setup:(active|passive)/.exec(description?.sdp ?? "")?.[1];
  // One of the two descriptions is an answer, which states the role.
  const theirs = setup(remote);
  const ours = setup(local) ?? (theirs && (theirs === "active" ? "passive" : "active"));
  return ours ? sdp.replaceAll("a=setup:actpass", `a=setup:${ours}`) : sdp;
}
