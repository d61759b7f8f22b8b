import { randomId } from "./ids.js";
import type { Body } from "./link.js";
import type { Receiver } from "./receive.js";
import { ANSWER_TIMEOUT, ask, track } from "./request.js";
import { asInboxError, inTime, pauseBeforeTry } from "./wait.js";

/** How long a send is tried again. */
const RETRY_TIME = 30_000;
/** For how long after an interruption a recipient may have to come back. */
const COMEBACK_TIME = 10_000;
/** What is this short outlives the page that sends it. Browsers bound how much can. */
const MAX_KEEPALIVE = 500;

/** How a message is to be sent. */
export interface SendOptions {
  /** Gives up. A send that was under way may have arrived. */
  signal?: AbortSignal | undefined;
  /**
   * How many milliseconds to go on trying while the recipient has no inbox.
   * Without it, a missing recipient is an error at once; for some seconds after
   * the server was away it is not, since then others have to come back too.
   */
  wait?: number | undefined;
  /**
   * What is said as the page is left: by a request, which outlives the page if it
   * has less than 500 characters or bytes. What goes over a socket then may not arrive,
   * but it goes there too, for networks that let no such request through.
   */
  last?: boolean | undefined;
}

/**
 * Makes a function that sends: in order for each recipient, and again until it is
 * known that a message arrived.
 * @internal
 */
export function createSend(receiver: Receiver) {
  /** What the next send to a recipient has to wait for. */
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
    const begun = Date.now();
    const until = begun + Math.max(RETRY_TIME, wait);
    // What was sent before the inbox is closed is let through, and not tried again.
    const { closes, place: { closing } } = receiver.server;
    if (turn) await inTime(until - begun, signal, turn);
    if (closing) await closing;
    for (let tries = 0; ; tries++) {
      signal?.throwIfAborted();
      // Over the socket if there is one; only at first, since it may be the socket that does not work.
      const sent = tries ? undefined : receiver.send?.(to, body, key);
      const over = sent && !last;
      sent?.catch(() => {});
      try {
        if (over) await track(receiver.server, inTime(ANSWER_TIMEOUT, signal, sent));
        else {
          await ask(receiver.server, { to }, {
            method: "POST",
            form: /^200/,
            headers: { "Idempotency-Key": key },
            body,
            signal,
            keepalive: body.length < MAX_KEEPALIVE,
          });
        }
        return;
      } catch (thrown) {
        signal?.throwIfAborted();
        if (!over && sent && (await sent.then(() => true, () => false))) return;
        const error = asInboxError(thrown);
        const now = Date.now();
        if (!error.status && !over) receiver.interrupted = now;
        const absent = error.code === "no-such-inbox" && now < Math.max(begun + wait, receiver.interrupted + COMEBACK_TIME);
        const intruder = error.code === "not-inbox" && receiver.known;
        // Before the time is up: a call that waits this long must hear why, and not only that it is over.
        const left = until - now - (error.retryAfter ?? 0);
        if (!(error.passes || absent || intruder) || closes !== receiver.server.closes || left <= 0) throw error;
        await pauseBeforeTry(tries, error, signal, Math.min(left, absent ? 2000 : 15_000));
      }
    }
  }
}

/** Strings and bytes go as they are now, whatever becomes of them while they wait; everything else goes as JSON. */
function encode(data: unknown): Body {
  if (typeof data === "string") return data;
  if (data instanceof ArrayBuffer) return new Uint8Array(data.slice());
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
  const json = JSON.stringify(data) as string | undefined;
  if (json === undefined) throw new TypeError("no JSON");
  return json;
}
