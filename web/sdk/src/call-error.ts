/**
 * Why there is no connection, or none any more:
 *
 * - `no-such-peer`: nobody receives under this id
 * - `no-answer`: somebody does, but did not answer in time
 * - `rejected`: they said no; see `reason`
 * - `ended`: they hung up, gave up, or left their page
 * - `ice-failed`: they answered, but no path between the two was found; see `tried`
 * - `closed`: this side closed it
 * - `no-webrtc`: this browser makes no WebRTC connections: a policy or an extension
 *   has switched them off, or it is no browser
 * - `setup-failed`: this side's `setup`, `iceServers` or `configuration` failed; see `cause`
 * - `peer-failed`: the other side met one of the two above; `reason` says which
 * - `own-id`: the peer is the inbox itself
 */
export type CallErrorCode =
  | "no-such-peer" | "no-answer" | "rejected" | "ended" | "ice-failed" | "closed"
  | "no-webrtc" | "setup-failed" | "peer-failed" | "own-id";

/** What a user reads. More follows where there is more to say. */
const SENTENCES: Record<CallErrorCode, string> = {
  "no-such-peer": "Nobody receives under this id",
  "no-answer": "The other side did not answer in time",
  rejected: "The other side declined the call",
  ended: "The other side ended the call",
  "ice-failed": "There is no network path to the other side",
  closed: "This side closed the call",
  "no-webrtc": "This browser does not make WebRTC connections",
  "setup-failed": "This side could not set up the connection",
  "peer-failed": "The other side could not set up the connection",
  "own-id": "A peer cannot call itself",
};

/** What was done to connect. */
export interface Tried {
  /** How often an offer was sent. */
  offers: number;
  /** How often ICE was restarted. */
  restarts: number;
  /** Which kinds of candidates there were on this side (host, srflx, relay): without relay, there was no TURN server. */
  local: string[];
  /** The same, of the other side. */
  remote: string[];
  /**
   * With `ice-failed`: why no path was found, in a word of the server's protocol, such as
   * `udp-blocked`, `relay-unreachable`, `no-relay` (this side had no TURN server) or
   * `peer-no-relay` (the other side reached none).
   */
  cause?: string;
}

/** That a call came to nothing, or has ended. `message` is a sentence; the other fields hold the details. */
export class CallError extends Error {
  /** Tells it from other errors. */
  override readonly name = "CallError";
  /** What programs read. */
  readonly code: CallErrorCode;
  /** What was tried. */
  readonly tried: Tried;
  /** What the other side gave as a reason; with `peer-failed`, the code of its own error. */
  readonly reason: string | undefined;

  /** @internal */
  constructor(code: CallErrorCode, tried: Tried, reason?: string, cause?: unknown) {
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
