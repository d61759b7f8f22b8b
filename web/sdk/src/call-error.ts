/**
 * The code of a {@link CallError}: why a call failed or ended.
 *
 * - `no-such-peer`: the peer has no inbox
 * - `no-answer`: the peer has an inbox, but did not answer in time
 * - `rejected`: the peer declined; see `reason`
 * - `ended`: the peer hung up, gave up, or left the page
 * - `ice-failed`: the peer answered, but ICE found no path, or lost it for good; see `tried`
 * - `closed`: this side closed the call
 * - `no-webrtc`: this runtime has no WebRTC, or a policy or an extension has switched it off
 * - `setup-failed`: `setup`, `iceServers` or `configuration` failed on this side; see `cause`
 * - `peer-failed`: the peer had a `no-webrtc` or a `setup-failed`; `reason` is that code
 * - `own-id`: the peer's id is that of the inbox itself
 */
export type CallErrorCode =
  | "no-such-peer" | "no-answer" | "rejected" | "ended" | "ice-failed" | "closed"
  | "no-webrtc" | "setup-failed" | "peer-failed" | "own-id";

/** The messages of errors. A reason, if there is one, follows after a colon. */
const SENTENCES: Record<CallErrorCode, string> = {
  "no-such-peer": "Nobody is online under this id",
  "no-answer": "The other side did not answer in time",
  rejected: "The other side declined the call",
  ended: "The other side ended the call",
  "ice-failed": "There is no network path to the other side",
  closed: "This side closed the call",
  "no-webrtc": "This browser has no WebRTC",
  "setup-failed": "This side could not set up the connection",
  "peer-failed": "The other side could not set up the connection",
  "own-id": "A peer cannot call itself",
};

/** What a call tried in order to connect. */
export interface Tried {
  /** How many times this side sent an offer. */
  offers: number;
  /** How many times this side restarted ICE. */
  restarts: number;
  /** The types of this side's candidates (`host`, `srflx`, `prflx`, `relay`). Without `relay`, this side reached no TURN server. */
  local: string[];
  /** The types of the other side's candidates. */
  remote: string[];
  /**
   * With `ice-failed`: why ICE found no path, in a word of the server's protocol, such as
   * `udp-blocked`, `relay-unreachable`, `no-relay` (this side had no TURN server) or
   * `peer-no-relay` (the other side reached none).
   */
  cause?: string;
}

/** A call failed or ended. `message` is a sentence that can be shown to users; the other fields have the details. */
export class CallError extends Error {
  /** Distinguishes it from other errors, also across copies of the SDK. */
  override readonly name = "CallError";
  /** What failed, for programs. */
  readonly code: CallErrorCode;
  /** What the call tried. */
  readonly tried: Tried;
  /** The reason that the other side gave; with `peer-failed`, the code of its error. */
  readonly reason: string | undefined;

  /** @internal */
  constructor(code: CallErrorCode, tried: Tried = nothingTried(), reason?: string, cause?: unknown) {
    const more = reason ?? (code === "setup-failed" && (cause as Error | undefined)?.message);
    super(SENTENCES[code] + (more ? `: ${more}` : "."), { cause });
    this.code = code;
    this.tried = tried;
    this.reason = reason;
  }
}

/** @internal */
export function nothingTried(): Tried {
  return { offers: 0, restarts: 0, local: [], remote: [] };
}
