import { InboxError } from "./errors.js";

/**
 * Calls wake whenever an immediate retry makes sense: the network went up or down, or the
 * page became visible. Aborting ends it.
 */
export function onWake(wake: (online: boolean) => void, ends: AbortController): void {
  const handle = ({ type }: Event): void => {
    if (type !== "visibilitychange" || !document.hidden) wake(type === "online");
  };
  // Node has no window. In a page, events of the document bubble up to it.
  const page: Partial<EventTarget> = globalThis;
  for (const type of ["online", "offline", "visibilitychange"]) page.addEventListener?.(type, handle, ends);
}

/** The longest delay that a timer supports, in milliseconds. */
export const LONGEST_TIMER = 2 ** 31 - 1;

/**
 * Waits for ms milliseconds, or until the signal is aborted, or until `subscribe` calls
 * back. It never rejects.
 */
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
 * Waits before the next attempt: exponential backoff up to `most` milliseconds, with jitter, so
 * that peers which lost their connections together do not reconnect together. The wait
 * that the server asks for is added, and nothing shortens it.
 */
export function pauseBeforeTry(tries: number, { retryAfter = 0 }: InboxError, signal?: AbortSignal, most = 15_000): Promise<void> {
  const own = Math.min(most, 300 * 2 ** tries) * (0.5 + Math.random() / 2);
  return pause(own + retryAfter, signal, retryAfter ? () => {} : onWake);
}

/**
 * Runs work that must finish within ms milliseconds. `extend` restarts the timer with
 * another duration. Every failure becomes an InboxError, except for an abort, which
 * rejects with the signal's reason.
 */
export async function withTimeout<T>(
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
    abort(); // cancels a response that was not read to its end
  }
}

/** Waits for work that cannot be aborted, for at most ms milliseconds. */
export function waitFor<T>(ms: number, signal: AbortSignal | undefined, work: Promise<T>): Promise<T> {
  return withTimeout(ms, signal, (ends) =>
    new Promise((resolve, reject) => {
      ends.addEventListener("abort", reject);
      work.then(resolve, reject);
    }),
  );
}

/** Returns an InboxError as it is, and anything else as the cause of an `unreachable`. */
export function asInboxError(error: unknown): InboxError {
  return error instanceof InboxError ? error : new InboxError("unreachable", 0, undefined, undefined, error);
}
