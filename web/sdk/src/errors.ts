/**
 * What programs read of an {@link InboxError}. Besides the codes of the server:
 *
 * - `unreachable`: no connection, or an answer that is no inbox server's
 * - `timeout`: no answer in time
 * - `http-502` and the like: an error without a code, from a proxy for example
 */
export type InboxErrorCode =
  | "bad-request" | "bad-credentials" | "bad-recipient" | "bad-cursor" | "bad-key"
  | "unauthorized" | "forbidden-origin" | "forbidden-navigation"
  | "no-such-inbox" | "method-not-allowed" | "too-slow" | "replaced" | "closed"
  | "too-large" | "encoded-body" | "rate-limited"
  | "inbox-full" | "server-full" | "store-unavailable" | "draining"
  | "unreachable" | "timeout" | `http-${number}`;

/** What an inbox server answers when it does not do what it was asked for, or that it does not answer. */
export class InboxError extends Error {
  /** Tells it from other errors. */
  override readonly name = "InboxError";
  /** What programs read. */
  readonly code: InboxErrorCode;
  /** The HTTP status, also on a socket; 0 without an answer. */
  readonly status: number;
  /** How many milliseconds the server asks to wait. */
  readonly retryAfter: number | undefined;

  /** @internal */
  constructor(code: InboxErrorCode, status = 0, detail: string = code, retryAfter?: number, cause?: unknown) {
    super(detail, { cause });
    this.code = code;
    this.status = status;
    this.retryAfter = retryAfter;
  }

  /** Whether the same request can succeed later without being changed. */
  get passes(): boolean {
    return !/^4(?!08|29)/.test(`${this.status}`);
  }
}
