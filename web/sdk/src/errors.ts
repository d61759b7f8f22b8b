/**
 * What programs read of an {@link InboxError}. Besides the codes of the server:
 *
 * - `unreachable`: no connection
 * - `timeout`: no answer in time
 * - `not-inbox`: something other than an inbox server answered
 * - `proxy-auth`: a proxy asked for its own credentials
 * - `unsupported`: this runtime's `fetch` does not take what the SDK asks it for; see `cause`
 * - `http-502` and the like: an error without a code, from a proxy for example
 */
// A Go test compares the server's codes and the table below with the catalogue in
// internal/problem: change that first.
export type InboxErrorCode =
  | "bad-request" | "bad-credentials" | "bad-recipient" | "bad-cursor" | "bad-key"
  | "unauthorized" | "forbidden-origin" | "forbidden-navigation"
  | "no-such-inbox" | "method-not-allowed" | "too-slow" | "replaced" | "closed"
  | "too-large" | "encoded-body" | "rate-limited"
  | "inbox-full" | "server-full" | "store-unavailable" | "draining"
  | "unreachable" | "timeout" | "not-inbox" | "proxy-auth" | "unsupported" | `http-${number}`;

/**
 * The code and the status that the close code of a socket stands for. The reason of a
 * close is for people.
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

/** What a user reads where the server says nothing more. */
const SENTENCES: { readonly [code: string]: string } = {
  unreachable: "The inbox server cannot be reached.",
  timeout: "The inbox server did not answer in time.",
  replaced: "Another receiver, perhaps another tab, has taken over the inbox.",
  closed: "The inbox was closed.",
  unauthorized: "The inbox has another password.",
  "not-inbox": "What answers is not an inbox server.",
  "proxy-auth": "A proxy asked for its own credentials.",
};

/** How many milliseconds to wait if a limit does not say for how long, as the close code of a socket. */
const LIMITED = 1000;

/** What an inbox server answers when it does not do what it was asked for, or that it does not answer. */
export class InboxError extends Error {
  /** Tells it from other errors. */
  override readonly name = "InboxError";
  /** What programs read. */
  readonly code: InboxErrorCode;
  /** The HTTP status, also on a socket; 0 without an answer. */
  readonly status: number;
  /** How many milliseconds the server asks to wait. The SDK does so by itself where it tries again. */
  readonly retryAfter: number | undefined;

  /** @internal */
  constructor(code: InboxErrorCode, status = 0, detail = SENTENCES[code] ?? `The inbox server answered: ${code}.`, retryAfter = status === 429 ? LIMITED : undefined, cause?: unknown) {
    super(detail, { cause });
    this.code = code;
    this.status = status;
    this.retryAfter = retryAfter;
  }

  /** Whether the same request can succeed later without being changed. */
  get passes(): boolean {
    return !/^4(?!08|25|29)|^5(0[15]|11)|not-inbox|unsupported/.test(this.status + this.code);
  }
}
