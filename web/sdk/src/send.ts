import { randomId } from "./ids.js";
import type { Body } from "./link.js";
import type { Receiver } from "./receive.js";
import { ANSWER_TIMEOUT, requestText, track } from "./request.js";
import { asInboxError, pauseBeforeTry, waitFor } from "./wait.js";

/** How long a send is retried, in milliseconds. */
const RETRY_TIME = 30_000;
/** How long recipients may take to reconnect after an interruption, in milliseconds. */
const RECONNECT_TIME = 10_000;
/** Shorter bodies are sent with keepalive. Browsers bound what all requests that outlive their page may hold together. */
const MAX_KEEPALIVE = 500;

/** Options of {@link Inbox.send}. */
export interface SendOptions {
  /** Aborts the send. The message may have arrived nevertheless. */
  signal?: AbortSignal | undefined;
  /**
   * How many milliseconds to wait for a recipient who has no inbox yet. The default, 0,
   * rejects immediately with `no-such-inbox`, except in the first 10 seconds after an
   * interruption, when the recipient may have to reconnect too.
   */
  wait?: number | undefined;
  /**
   * Set it for a message that is sent as the page is left. The message goes out by a
   * request, which outlives the page if the body has fewer than 500 characters or bytes.
   * It also goes over the socket, for networks that block such requests. The recipient
   * gets it once.
   */
  last?: boolean | undefined;
}

/**
 * Creates the function that sends. It keeps the order for each recipient, and retries
 * under the same idempotency key until the server confirms the message.
 * @internal
 */
export function createSend(receiver: Receiver) {
  /** For each recipient, settles when the next send may start. */
  const turns = new Map<string, Promise<unknown>>();

  return (to: string, data: unknown, options: SendOptions): Promise<void> => {
    const body = encode(data);
    const turn = turns.get(to);
    const sent = track(receiver.server, send(turn, to, body, options));
    const next = Promise.allSettled([turn, sent]).then(() => {
      if (turns.get(to) === next) turns.delete(to);
    });
    turns.set(to, next);
    return sent;
  };

  async function send(
    turn: Promise<unknown> | undefined,
    to: string,
    body: Body,
    { signal, wait = 0, last }: SendOptions,
  ): Promise<void> {
    const key = randomId();
    const startedAt = Date.now();
    const until = startedAt + Math.max(RETRY_TIME, wait);
    // A send that began before the inbox was closed gets through, but is not retried.
    const { closeCount, shared: { closing } } = receiver.server;
    if (turn) await waitFor(until - startedAt, signal, turn);
    if (closing) await closing;
    for (let tries = 0; ; tries++) {
      signal?.throwIfAborted();
      // Only the first attempt uses the socket: if it fails, the socket may be the reason.
      const sent = tries ? undefined : receiver.send?.(to, body, key);
      const bySocket = sent && !last;
      sent?.catch(() => {});
      try {
        if (bySocket) await track(receiver.server, waitFor(ANSWER_TIMEOUT, signal, sent));
        else {
          await requestText(receiver.server, { to }, {
            method: "POST",
            success: /^200/,
            headers: { "Idempotency-Key": key },
            body,
            signal,
            keepalive: body.length < MAX_KEEPALIVE,
          });
        }
        return;
      } catch (thrown) {
        signal?.throwIfAborted();
        if (!bySocket && sent && (await sent.then(() => true, () => false))) return;
        const error = asInboxError(thrown);
        const now = Date.now();
        if (!error.status && !bySocket) receiver.interruptedAt = now;
        const absent = error.code === "no-such-inbox" && now < Math.max(startedAt + wait, receiver.interruptedAt + RECONNECT_TIME);
        const impostor = error.code === "not-inbox" && receiver.known;
        // Reject before the time is up: a call with the same timeout then reports this error, not a `timeout`.
        const left = until - now - (error.retryAfter ?? 0);
        if (!(error.passes || absent || impostor) || closeCount !== receiver.server.closeCount || left <= 0) throw error;
        await pauseBeforeTry(tries, error, signal, Math.min(left, absent ? 2000 : 15_000));
      }
    }
  }
}

/** Copies strings and bytes, so that later changes do not matter, and encodes everything else as JSON. */
function encode(data: unknown): Body {
  if (typeof data === "string") return data;
  if (data instanceof ArrayBuffer) return new Uint8Array(data).slice();
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
  const json = JSON.stringify(data) as string | undefined;
  if (json === undefined) throw new TypeError(`JSON has no ${typeof data}.`);
  return json;
}
