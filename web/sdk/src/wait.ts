import { InboxError } from "./errors.js";

/**
 * Calls back when it is worth to try again at once: the network is back or has
 * gone, the page is looked at again. An abort ends it.
 */
export function onWake(wake: (online: boolean) => void, ends: AbortController): void {
  const hear = ({ type }: Event): void => {
    if (type !== VISIBILITY || !document.hidden) wake(type === ONLINE);
  };
  // There is no window in Node. What happens to the document is heard there too.
  const page: Partial<EventTarget> = globalThis;
  for (const type of [ONLINE, "offline", VISIBILITY]) page.addEventListener?.(type, hear, ends);
}
const ONLINE = "online";
const VISIBILITY = "visibilitychange";

/** What a timer can wait, at most. */
export const LONGEST_TIMER = 2 ** 31 - 1;

/** Waits; shorter when the signal is aborted, or when what it subscribes to calls back. */
export function pause(
  ms: number,
  signal?: AbortSignal,
  subscribe: (wake: () => void, ends: AbortController) => void = onWake,
): Promise<void> {
  return new Promise((resolve) => {
    const ends = new AbortController();
    const end = (): void => {
      clearTimeout(timer);
      ends.abort();
      resolve();
    };
    const timer = setTimeout(end, Math.min(ms, LONGEST_TIMER));
    subscribe(end, ends);
    signal?.addEventListener("abort", end, ends);
    if (signal?.aborted) end();
  });
}

/**
 * Pauses before the next try: longer each time, and as drawn by lot, so that
 * peers that were cut off together do not come back together. What the server
 * asks for is neither undercut nor cut short.
 */
export function pauseBeforeTry(tries: number, { retryAfter = 0 }: InboxError, signal?: AbortSignal, most = 15_000): Promise<void> {
  const own = Math.min(most, 300 * 2 ** tries) * (0.5 + Math.random() / 2);
  return pause(own + retryAfter, signal, retryAfter ? () => {} : onWake);
}

/**
 * Does work that has to end in time; `extend` sets the time anew. Everything that
 * goes wrong in it, but an abort, is an InboxError.
 */
export async function within<T>(
  ms: number,
  signal: AbortSignal | undefined,
  work: (signal: AbortSignal, extend: (ms: number) => void) => Promise<T>,
): Promise<T> {
  const ends = new AbortController();
  let timer: number | undefined;
  const abort = (): void => ends.abort(signal?.reason);
  const extend = (ms: number): void => {
    clearTimeout(timer);
    timer = setTimeout(() => ends.abort(new InboxError("timeout")), Math.min(ms, LONGEST_TIMER));
  };
  signal?.throwIfAborted();
  signal?.addEventListener("abort", abort, ends);
  extend(ms);
  try {
    return await work(ends.signal, extend);
  } catch (error) {
    ends.signal.throwIfAborted();
    throw asInboxError(error);
  } finally {
    clearTimeout(timer);
    abort(); // whatever was not read to its end
  }
}

/** Waits for something that cannot be aborted. */
export function inTime<T>(ms: number, signal: AbortSignal | undefined, work: Promise<T>): Promise<T> {
  return within(ms, signal, (ends) =>
    new Promise((resolve, reject) => {
      ends.addEventListener("abort", reject);
      work.then(resolve, reject);
    }),
  );
}

/** What went wrong, if nobody said it better. */
export function asInboxError(error: unknown): InboxError {
  return error instanceof InboxError ? error : new InboxError("unreachable", 0, undefined, undefined, error);
}
