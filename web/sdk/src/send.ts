import { randomId } from "./ids.js";
import type { Receiver } from "./receive.js";
import { ANSWER, ask } from "./request.js";
import { asInboxError, inTime, pauseBeforeTry } from "./wait.js";

/** How long a send is tried again. */
const PATIENCE = 30_000;
/** For how long after an interruption a recipient may have to come back. */
const COMEBACK = 10_000;
/** What goes over a socket: a larger frame might be more than the server takes, and end it. */
const LARGEST = 16_000;
/** What is this short outlives the page that sends it. Browsers bound how much can. */
const LAST_WORDS = 500;

/** How a message is to be sent. */
export interface SendOptions {
  /** Gives up. A send that was under way may have arrived. */
  signal?: AbortSignal | undefined;
  /**
   * How many milliseconds to go on trying while the recipient has no inbox.
   * Without it, a missing recipient is an error at once; for some seconds after
   * the server was away it is not, since then others have to come back too.
   */
  patience?: number | undefined;
  /**
   * What is said as the page is left: by a request, which outlives the page if it
   * has less than 500 characters. What goes over a socket then may not arrive.
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
    const sent = send(turn, to, body, options);
    const next = Promise.allSettled([turn, sent]).then(() => {
      if (turns.get(to) === next) turns.delete(to);
    });
    turns.set(to, next);
    return sent;
  };

  async function send(
    turn: Promise<unknown> | undefined,
    to: string,
    body: string | Blob,
    { signal, patience = 0, last }: SendOptions,
  ): Promise<void> {
    const key = randomId();
    const begun = Date.now();
    const until = begun + Math.max(PATIENCE, patience);
    if (turn) await inTime(until - begun, signal, turn);
    for (let tries = 0; ; tries++) {
      signal?.throwIfAborted();
      // Over the socket if there is one; only at first, since it may be the socket that does not work.
      const over = !tries && !last && typeof body === "string" && body.length < LARGEST && receiver.send;
      try {
        if (over) {
          await inTime(ANSWER, signal, over(to, body, key));
        } else {
          await ask(receiver.server, { to }, {
            method: "POST",
            headers: { "Idempotency-Key": key },
            body,
            signal,
            keepalive: (body as string).length < LAST_WORDS,
          });
        }
        return;
      } catch (thrown) {
        signal?.throwIfAborted();
        const error = asInboxError(thrown);
        const now = Date.now();
        if (!error.status && !over) receiver.interrupted = now;
        const absent = error.code === "no-such-inbox" && now < Math.max(begun + patience, receiver.interrupted + COMEBACK);
        if (!(error.passes || absent) || until - now <= (error.retryAfter ?? 0)) throw error;
        await pauseBeforeTry(tries, error, signal, Math.min(until - now, absent ? 2000 : 15_000));
      }
    }
  }
}

/** Strings and bytes go as they are now, whatever becomes of them while they wait; everything else goes as JSON. */
function encode(data: unknown): string | Blob {
  if (typeof data === "string") return data;
  if (data instanceof ArrayBuffer || ArrayBuffer.isView(data)) return new Blob([data as ArrayBuffer]);
  const json = JSON.stringify(data) as string | undefined;
  if (json === undefined) throw new TypeError("no JSON");
  return json;
}
