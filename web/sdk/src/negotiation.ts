import type { CallError, Tried } from "./call-error.js";
import { InboxError } from "./errors.js";
import { note, type Say, type Signal } from "./signal.js";
import { pause } from "./wait.js";

/** When to send an offer again that was not answered. */
const REPEAT_AFTER = 4000;
/** How long candidates wait for others, and for the description that they belong to. */
const GATHER_TIME = 10;
/** How long to wait for the first of them before an offer is let go of: without one, Chromium at times gathers no more. */
const FIRST_CANDIDATE_TIMEOUT = 500;

/** How many candidates are kept that came before what they belong to. */
const MAX_EARLY = 200;

/** The number of a data channel that nobody else takes. It is the last one that browsers have. */
const UNUSED_CHANNEL = 1023;

type Description = Omit<Signal, "session">;

/** What a negotiation needs to know of its call. */
export interface Negotiating {
  readonly tried: Tried;
  /** Lets go of its offer when both sides make one. */
  polite: boolean;
  /** The call that this one has taken the place of. */
  replaces: string | undefined;
  readonly over: AbortSignal;
  readonly say: Say;
  /** Whether a first offer was answered: from then on there is something to go back to. */
  readonly answered: boolean;
  /** An offer was answered. */
  agreed(): void;
  /** Reports whether a signal that did not arrive was refused for good. Unless something arrived before, that is the end of the call. */
  refused(error: unknown): boolean;
  /** Tells the application what came to nothing, while the connection goes on. */
  tell(error: unknown): void;
  /** The error of this call for what fails in the browser, here or on the other side. */
  failure(code: "setup-failed" | "peer-failed", reason?: string, cause?: unknown): CallError;
  end(error: unknown): void;
}

export interface Negotiation {
  /** Begins; the one who is not polite makes an offer. */
  begin(): Promise<void>;
  hear(signal: Signal): Promise<void>;
  /** Says again what may have been lost. */
  repeat(): void;
}

/**
 * Perfect negotiation (W3C WebRTC, 10.7) of one connection, over a way that may
 * lose signals, repeat them, and take its time.
 */
export function negotiate(pc: RTCPeerConnection, call: Negotiating): Negotiation {
  let begun = false;
  let making = false;
  /** Whether another offer was needed while one was made. */
  let missed = false;
  let ours = 0;
  /** Our last offer, as it was said. */
  let offered: Description | undefined;
  let theirs = 0;
  /** The answer to their last offer. */
  let answer: Description;
  let offering: Promise<void> | undefined;
  let timer: number | undefined;
  const early: RTCIceCandidateInit[] = [];
  const gathered: RTCIceCandidateInit[] = [];
  let sent = 0;
  let sending = false;
  /** Whether there was a candidate of the last offer, and whom it wakes. */
  let first = false;
  let wake = (): void => {};
  /** What an offer would have changed that came to nothing: it is not made again until the application wants another change. */
  let refused: string | undefined;
  /** Whether the application was told that candidates of the last offer were refused. */
  let told = false;

  pc.addEventListener("negotiationneeded", () => begun && offer());
  pc.addEventListener("icecandidate", ({ candidate }) => {
    note(call.tried, "local", candidate?.candidate);
    gathered.push(candidate ?? { candidate: "" });
    setTimeout(flush, GATHER_TIME);
    first = true;
    wake();
  });
  call.over.addEventListener("abort", () => clearTimeout(timer));

  return {
    async begin() {
      if (!call.polite) {
        // With nothing to agree on there would be no connection: a channel that only this side knows makes it one for channels.
        if (!(await pc.createOffer()).sdp?.includes("m=")) pc.createDataChannel("", { negotiated: true, id: UNUSED_CHANNEL });
        await offer();
      }
      begun = true;
    },

    async hear({ type, n, sdp, candidates, why }) {
      if (type === "candidates") {
        const all = [candidates ?? []].flat().flatMap(readCandidate);
        // The end comes last, wherever it stands: some implementations begin with it.
        for (const candidate of all) if (candidate.candidate) await add(candidate);
        if (all.some(({ candidate }) => !candidate)) await add({ candidate: "" });
        return;
      }
      if (type === "offer") {
        if (n! <= theirs) {
          // It was answered, but they may not have heard it, and wait for that however much we offer.
          if (n === theirs) say(answer);
          return;
        }
        if (making || pc.signalingState !== "stable") {
          if (!call.polite) return;
          ours++; // the one that is on its way is no more
          if (!first) await pause(FIRST_CANDIDATE_TIMEOUT, call.over, (act) => void (wake = act));
          gathered.length = sent = 0;
        }
        theirs = n!;
      } else {
        await offering; // it was heard before we knew
        if (n !== ours || pc.signalingState !== "have-local-offer") return; // to an offer that is no more, or once more
      }
      try {
        if (why) throw why;
        note(call.tried, "remote", sdp);
        await pc.setRemoteDescription({ type: type as "offer", sdp: sdp! });
        for (const candidate of early.splice(0)) await add(candidate);
        if (type === "offer") await reply();
      } catch (error) {
        if (type === "answer") {
          // A first offer waits for another answer. A later one gives way, so that others can follow.
          if (call.answered) await giveWay(why ? call.failure("peer-failed", `${why}`) : call.failure("setup-failed", undefined, error));
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

  /** Makes an offer, one at a time. */
  async function offer(): Promise<void> {
    missed = making;
    if (making || call.over.aborted) return;
    making = true;
    clearTimeout(timer);
    await (offering = (call.answered ? offerChange() : offerFirst()).catch((error) => call.tell(call.failure("setup-failed", undefined, error))));
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

  /** What works goes on as it is until the other side has the offer. */
  async function offerChange(): Promise<void> {
    const { sdp } = await pc.createOffer();
    if (pc.signalingState !== "stable") return; // they offer something, and are answered first
    // The browser tells of the first change only.
    later(offer);
    if (changes(pc, sdp) === refused) return;
    refused = undefined;
    told = false;
    const n = ++ours;
    call.tried.offers++;
    try {
      await call.say((offered = { type: "offer", n, sdp: keepRole(pc, sdp!) }));
    } catch (error) {
      if (n !== ours || !call.refused(error)) return;
      refused = changes(pc, sdp);
      call.tell(error);
      return;
    }
    if (n !== ours || pc.signalingState !== "stable") return;
    try {
      await pc.setLocalDescription({ type: "offer", sdp: sdp! });
    } catch (error) {
      refused = changes(pc, sdp); // the other side cannot take it either, or is told to begin anew
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
    // What works goes on as it is until the other side has the answer.
    const { sdp } = await pc.createAnswer();
    await call.say((answer = { type: "answer", n: theirs, sdp: sdp! }));
    await pc.setLocalDescription({ type: "answer", sdp: sdp! });
  }

  /** Does not answer an offer, and says so. */
  async function refuse(error: unknown): Promise<void> {
    if (call.over.aborted) return;
    // Chromium needs it also where it says that it is stable.
    await pc.setRemoteDescription({ type: "rollback", sdp: "" }).catch(() => {});
    if (error instanceof InboxError && !call.refused(error)) {
      theirs--; // they offer again
      return;
    }
    const failure = error instanceof InboxError ? error : call.failure("setup-failed", undefined, error);
    if (!call.answered) return call.end(failure);
    call.tell(failure);
    answer = { type: "answer", n: theirs, why: failure.code };
    await call.say(answer).catch(() => {});
  }

  /** Lets go of an offer that came to nothing. */
  async function giveWay(error: unknown): Promise<void> {
    if (pc.signalingState !== "have-local-offer") return;
    refused = changes(pc, pc.localDescription!.sdp);
    gathered.length = sent = 0;
    await pc.setLocalDescription({ type: "rollback", sdp: "" });
    call.tell(error);
  }

  /** Says what this side has last agreed to, or offers. */
  function describe(): void {
    const { type, sdp } = pc.localDescription!;
    if (type === "offer") say(offered?.n === ours ? offered : { type, n: ours, sdp: keepRole(pc, sdp) });
    else say((answer = { type: "answer", n: theirs, sdp, replaces: call.replaces }));
  }

  function say(description: Description): void {
    if (description.type === "offer") call.tried.offers++;
    const again = (): void => later(repeat);
    clearTimeout(timer);
    call.say(description).then(again, (error) => {
      if (!call.refused(error) || !call.answered) again();
      else if (description.type === "answer") call.tell(error);
      else if (description.n === ours) giveWay(error).catch(() => {}); // closed meanwhile
    });
  }

  async function flush(): Promise<void> {
    if (sending) return;
    sending = true;
    while (sent < gathered.length && !call.over.aborted) {
      const candidates = gathered.slice(sent);
      sent = gathered.length;
      await give(candidates);
    }
    sending = false;
  }

  async function give(candidates: RTCIceCandidateInit[]): Promise<void> {
    try {
      await call.say({ type: "candidates", candidates });
    } catch (error) {
      const half = candidates.length >> 1;
      if (half && error instanceof InboxError && error.code === "too-large") {
        await give(candidates.slice(0, half));
        await give(candidates.slice(half));
      } else if (!told && call.refused(error)) {
        told = true;
        call.tell(error);
      }
    }
  }

  async function add(candidate: RTCIceCandidateInit): Promise<void> {
    note(call.tried, "remote", candidate.candidate);
    if (pc.remoteDescription) await pc.addIceCandidate(candidate).catch(() => {}); // of an offer that was ignored, or nonsense
    else if (early.length < MAX_EARLY) early.push(candidate);
  }
}

/** Reads a candidate in any of the forms in which implementations send them. One without a text is the end of them; nonsense is none. */
function readCandidate(given: unknown): RTCIceCandidateInit[] {
  const { candidate, ...others } = (typeof given === "object" ? (given ?? {}) : { candidate: given }) as RTCIceCandidateInit;
  if (typeof (candidate ?? "") !== "string") return [];
  const text = (candidate ?? "").trim().replace(/^a=/, "").replace(/^end-of-candidates$/, "");
  others.sdpMid ||= null;
  others.sdpMLineIndex ??= others.sdpMid ? null : 0;
  return [text ? { ...others, candidate: text } : { candidate: "" }];
}

/** What an offer would change: two that would change the same fare the same. */
function changes({ currentLocalDescription: now }: RTCPeerConnection, sdp = ""): string {
  const [all, agreed] = [sdp, now?.sdp ?? ""].map((text) => text.split(/^m=/m).slice(1)) as [string[], string[]];
  const direction = (section: string): string => `${/^a=(send|recv|inactive)\w*/m.exec(section)}`;
  return `${all
    .filter((section, i) => !agreed[i] || direction(section) !== direction(agreed[i]))
    .map((section) => section.match(/^\w+|^a=(send|recv|inactive|rtpmap)\w*/gm))}`;
}

/**
 * Says in an offer which end of DTLS this side is, once that is agreed (RFC 8842,
 * section 5.5). Left to choose, Firefox takes the other end when ICE is begun anew,
 * and the answer is one that Chromium cannot take.
 */
function keepRole({ currentLocalDescription: local, currentRemoteDescription: remote }: RTCPeerConnection, sdp: string): string {
  const setup = (description: RTCSessionDescription | null): string | undefined => /a=setup:(active|passive)/.exec(description?.sdp ?? "")?.[1];
  // One of the two is an answer, and says it.
  const theirs = setup(remote);
  const ours = setup(local) ?? (theirs && (theirs === "active" ? "passive" : "active"));
  return ours ? sdp.replaceAll("a=setup:actpass", `a=setup:${ours}`) : sdp;
}
