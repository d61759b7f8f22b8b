/**
 * Why there is no connection, or none any more:
 *
 * - `no-such-peer`: nobody receives under this id
 * - `no-answer`: somebody does, but did not answer in time
 * - `rejected`: they said no; see `reason`
 * - `ended`: they hung up, gave up, or left their page
 * - `ice-failed`: they answered, but no path between the two was found; see `tried`
 * - `closed`: this side closed it
 */
export type CallErrorCode = "no-such-peer" | "no-answer" | "rejected" | "ended" | "ice-failed" | "closed";

/** What was done to connect. */
export interface Tried {
  /** How often an offer was sent. */
  offers: number;
  /** How often ICE was begun anew. */
  restarts: number;
  /** Which kinds of candidates there were on this side (host, srflx, relay): without relay, there was no TURN server. */
  local: string[];
  /** The same, of the other side. */
  remote: string[];
}

/** That a call came to nothing, or has ended. */
export class CallError extends Error {
  /** Tells it from other errors. */
  override readonly name = "CallError";
  /** What programs read. */
  readonly code: CallErrorCode;
  /** What was tried. */
  readonly tried: Tried;
  /** What the other side gave as a reason. */
  readonly reason: string | undefined;

  /** @internal */
  constructor(code: CallErrorCode, tried: Tried, reason?: string, cause?: unknown) {
    super(`${code} ${reason ?? JSON.stringify(tried)}`, { cause });
    this.code = code;
    this.tried = tried;
    this.reason = reason;
  }
}
