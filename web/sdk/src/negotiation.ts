import type { Tried } from "./call-error.js";
import { note, type Say, type Signal } from "./signal.js";
import { pause } from "./wait.js";

/** When to send an offer again that was not answered. */
const REPEAT = 4000;
/** How long candidates wait for others, and for the description that they belong to. */
const GATHER = 10;
/** How long to wait for the first of them before an offer is let go of: without one, Chromium at times gathers no more. */
const FIRST = 500;

/** How many candidates are kept that came before what they belong to. */
const EARLY = 200;

/** The number of a data channel that nobody else takes. It is the last one that browsers have. */
const UNUSED = 1023;

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
  /** An offer was answered. */
  agreed(): void;
  /** The first thing that was said did not arrive. */
  unheard(error: unknown): void;
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
  let ours = 0;
  let theirs = 0;
  /** The answer to their last offer. */
  let answer: Description;
  let timer: number | undefined;
  const early: RTCIceCandidateInit[] = [];
  const gathered: RTCIceCandidateInit[] = [];
  let sent = 0;
  let sending = false;
  /** Whether there was a candidate of the last offer, and whom it wakes. */
  let first = false;
  let wake = (): void => {};

  pc.addEventListener("negotiationneeded", () => begun && offer().catch(() => {})); // closed meanwhile
  pc.addEventListener("icecandidate", ({ candidate }) => {
    note(call.tried, "local", candidate?.candidate);
    gathered.push(candidate ?? { candidate: "" });
    setTimeout(flush, GATHER);
    first = true;
    wake();
  });
  call.over.addEventListener("abort", () => clearTimeout(timer));

  return {
    async begin() {
      if (!call.polite) {
        // With nothing to agree on there would be no connection: a channel that only this side knows makes it one for channels.
        if (!(await pc.createOffer()).sdp?.includes("m=")) pc.createDataChannel("", { negotiated: true, id: UNUSED });
        await offer();
      }
      begun = true;
    },

    async hear({ type, n, sdp, candidates }) {
      if (type === "candidates") {
        for (const candidate of candidates!) await add(candidate);
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
          if (!first) await pause(FIRST, call.over, (act) => void (wake = act));
          gathered.length = sent = 0;
        }
        theirs = n!;
      } else if (n !== ours || pc.signalingState !== "have-local-offer") {
        return; // to an offer that is no more, or once more
      }
      note(call.tried, "remote", sdp);
      await pc.setRemoteDescription({ type: type as "offer", sdp: sdp! });
      for (const candidate of early.splice(0)) await add(candidate);
      if (type === "offer") {
        await pc.setLocalDescription();
        describe();
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

  async function offer(): Promise<void> {
    making = true;
    first = false;
    try {
      await pc.setLocalDescription();
    } finally {
      making = false;
    }
    if (pc.signalingState !== "have-local-offer") return;
    ours++;
    describe();
  }

  /** Says what this side has last agreed to, or offers. */
  function describe(): void {
    const { type, sdp } = pc.localDescription!;
    if (type === "offer") say({ type, n: ours, sdp: keepRole(pc, sdp) });
    else say((answer = { type: "answer", n: theirs, sdp, replaces: call.replaces }));
  }

  function say(description: Description): void {
    if (description.type === "offer") call.tried.offers++;
    clearTimeout(timer);
    const again = (): void => {
      if (!call.over.aborted) timer = setTimeout(() => pc.signalingState === "have-local-offer" && describe(), REPEAT);
    };
    call.say(description).catch(call.unheard).then(again);
  }

  async function flush(): Promise<void> {
    if (sending) return;
    sending = true;
    while (sent < gathered.length && !call.over.aborted) {
      const candidates = gathered.slice(sent);
      sent = gathered.length;
      await call.say({ type: "candidates", candidates }).catch(() => {});
    }
    sending = false;
  }

  async function add(candidate: RTCIceCandidateInit): Promise<void> {
    note(call.tried, "remote", candidate.candidate);
    if (pc.remoteDescription) await pc.addIceCandidate(candidate).catch(() => {}); // of an offer that was ignored, or nonsense
    else if (early.length < EARLY) early.push(candidate);
  }
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
