/**
 * The code of an {@link InboxError}. The server's codes are in the protocol's
 * documentation. The SDK adds:
 *
 * - `unreachable`: no connection to the server
 * - `timeout`: no answer in time
 * - `not-inbox`: something other than an inbox server answered
 * - `proxy-auth`: a proxy asked for its own credentials
 * - `unsupported`: this runtime's `fetch` lacks an option that the SDK needs; see `cause`
 * - `http-502` and the like: an error without a code, for example from a proxy
 */
// A Go test compares the server's codes and the table below with the catalogue in
// internal/problem: change that first.
export type InboxErrorCode =
  | "bad-request" | "bad-credentials" | "bad-recipient" | "bad-cursor" | "bad-key"
  | "unauthorized" | "forbidden-origin" | "forbidden-navigation"
  | "no-such-inbox" | "no-such-code" | "method-not-allowed" | "too-slow" | "replaced" | "closed"
  | "room-full" | "too-many-rooms"
  | "too-large" | "encoded-body" | "rate-limited"
  | "inbox-full" | "server-full" | "store-unavailable" | "draining"
  | "unreachable" | "timeout" | "not-inbox" | "proxy-auth" | "unsupported" | `http-${number}`;

/**
 * The code and the HTTP status for each close code of a socket.
 * @internal
 */
export const CLOSES: { readonly [close: number]: readonly [code: InboxErrorCode, status: number] | undefined } = {
  1002: ["bad-request", 400],
  1003: ["bad-request", 400],
  1007: ["bad-request", 400],
  1008: ["too-slow", 408],
  1012: ["draining", 503],
  1013: ["store-unavailable", 503],
  4400: ["bad-request", 400],
  4401: ["unauthorized", 401],
  4408: ["too-slow", 408],
  4409: ["replaced", 409],
  4410: ["closed", 409],
  4413: ["too-large", 413],
  4429: ["rate-limited", 429],
};

/** The messages of errors for which the server sends none: those of the SDK, and those on a socket. */
const SENTENCES: { readonly [code: string]: string } = {
  unreachable: "The inbox server cannot be reached. Check the network.",
  timeout: "The inbox server did not answer in time. Check the network.",
  replaced: "Another tab or program took over the inbox. Close it, or use another id.",
  closed: "The inbox was closed.",
  unauthorized: "The inbox has another password. Check it, or use another id.",
  "no-such-inbox": "Nobody is online under this id. Check it, or try again later.",
  "not-inbox": "This is not an inbox server. Check the URL.",
  "proxy-auth": "A proxy asked for a password.",
};

/** The default retryAfter of a rate limit, in milliseconds: a close code cannot carry one. */
const RATE_LIMIT_PAUSE = 1000;

/**
 * The server refused a request, or did not answer. `message` is a sentence that can be
 * shown to users.
 */
export class InboxError extends Error {
  /** Distinguishes it from other errors, also across copies of the SDK. */
  override readonly name = "InboxError";
  /** What failed, for programs. */
  readonly code: InboxErrorCode;
  /** The HTTP status, also for an error on a socket; 0 if there was no answer. */
  readonly status: number;
  /** How many milliseconds the server asks to wait before a retry. The SDK waits that long when it retries. */
  readonly retryAfter: number | undefined;

  /** @internal */
  constructor(code: InboxErrorCode, status = 0, detail = SENTENCES[code] ?? `The inbox server answered: ${code}.`, retryAfter = status === 429 ? RATE_LIMIT_PAUSE : undefined, cause?: unknown) {
    super(detail, { cause });
    this.code = code;
    this.status = status;
    this.retryAfter = retryAfter;
  }

  /** Whether the same request may succeed later, unchanged. */
  get passes(): boolean {
    return !/^4(?!08|25|29)|^5(0[15]|11)|not-inbox|unsupported/.test(this.status + this.code);
  }
}
