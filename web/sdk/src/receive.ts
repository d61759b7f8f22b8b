import type { InboxError } from "./errors.js";
import type { Link } from "./link.js";
import { readMessage, type Message } from "./message.js";
import { poll } from "./poll.js";
import { ask, type Server } from "./request.js";
import { socket } from "./socket.js";
import { stream } from "./stream.js";
import { asInboxError, onWake, pause, pauseBeforeTry } from "./wait.js";

/** How messages are received: over a WebSocket, from one answer that does not end, or by requests that wait. */
export type Transport = "socket" | "stream" | "poll";

/** The best first. */
const transports = { socket, stream, poll };

/** How many messages are kept that no loop has asked for yet. */
const KEPT = 100;
/** How many cursors are remembered, to know what comes again. */
const REMEMBERED = 2000;
/** A connection that ends sooner counts as one that failed. */
const LIVED = 10_000;
/** How much later than the next attempt one that was given up can arrive. */
const OVERTAKEN = 1000;
/** When to try again what is better than what works. */
const BETTER = 300_000;

/** How a loop over messages is to be. */
export interface MessagesOptions {
  /** Ends the loop. */
  signal?: AbortSignal | undefined;
  /**
   * Which messages this loop gets. Several loops can run at once: a message goes
   * to the first one, in the order in which they began, that wants it. Only what is
   * about calls goes to `connect` and `accept` before. What this throws ends the loop.
   */
  match?: ((message: Message) => boolean) | undefined;
  /**
   * Called when mail may have been missed: the inbox had expired, or the server
   * was restarted without its inboxes.
   */
  onreset?: (() => void) | undefined;
  /**
   * Goes before loops that began earlier.
   * @internal
   */
  first?: boolean;
}

/** A message on its way to a loop. */
interface Entry {
  readonly content: Message;
  /** It can be acknowledged. */
  handled: boolean;
}

/** A loop over messages. */
interface Reader {
  readonly options: MessagesOptions;
  readonly queue: Entry[];
  wake: () => void;
  /** Why it ends, once it does. */
  failure?: unknown;
}

/**
 * Who is told how it goes.
 * @internal
 */
export interface Owner {
  onopen: ((transport: Transport) => void) | undefined;
  onaway: ((error: InboxError) => void) | undefined;
}

/** Where the cursor is kept while a page is loaded again; sessionStorage is one. */
export type CursorStorage = Pick<Storage, "getItem" | "setItem" | "removeItem">;

/**
 * Receives for all loops over one inbox, as long as there is one.
 * @internal
 */
export interface Receiver extends Link {
  /** The transport that works now. */
  transport?: Transport | undefined;
  /** When the server was last known to be away, or to have lost something. */
  interrupted: number;
  messages(options: MessagesOptions): AsyncGenerator<Message, void, void>;
  /** Ends all loops. */
  end(error: InboxError): void;
}

/** @internal */
export function createReceiver(
  owner: Owner,
  server: Server,
  chosen: readonly Transport[] | undefined,
  storage: CursorStorage | undefined,
): Receiver {
  const names = chosen?.length ? chosen : (Object.keys(transports) as Transport[]);
  const storageKey = `inbox ${server.url.href} ${server.id}`;
  /** The position, the one that was last told to the server, and the one that it knows. */
  let after: string | undefined;
  let asked: string | undefined;
  let told: string | undefined;
  let telling: Promise<unknown> = Promise.resolve();

  let readers = new Set<Reader>();
  /** What is not acknowledged, in order. */
  const pending: Entry[] = [];
  const seen = new Set<string>();
  /** What nobody has asked for yet. */
  const kept: Entry[] = [];

  let running = false;
  let attempt = new AbortController();
  /** The transport that is tried, as an index. */
  let at = 0;
  /** When an attempt was last ended by this side. */
  let left = 0;

  const receiver: Receiver = {
    server,
    interrupted: 0,

    async *messages(options) {
      const { signal } = options;
      if (signal?.aborted) return;
      const reader: Reader = { options, queue: [], wake: () => {} };
      let entry: Entry | undefined;
      readers = new Set(options.first ? [reader, ...readers] : readers).add(reader);
      kept.splice(0).forEach(give);
      if (!running) void run();
      try {
        while (!signal?.aborted) {
          if ((entry = reader.queue.shift())) {
            yield entry.content;
            entry.handled = true;
            entry = undefined;
            settle();
          } else if (reader.failure) {
            throw reader.failure;
          } else {
            await pause(Infinity, signal, (wake) => void (reader.wake = wake));
          }
        }
      } finally {
        if (entry) reader.queue.unshift(entry);
        if (readers.delete(reader)) {
          // What was not handled to its end goes to another loop, or is received again.
          if (readers.size) reader.queue.forEach(give);
          else {
            kept.push(...reader.queue.filter(({ handled }) => handled));
            halt();
            if (told !== after) receiver.tell(); // so that nobody who comes next receives it again
          }
        }
      }
    },

    end(error) {
      for (const reader of readers) {
        reader.failure = error;
        reader.wake();
      }
      readers.clear();
      halt();
      if (error.code !== "closed") return;
      // The next loop begins anew.
      after = undefined;
      storage?.removeItem(storageKey);
    },

    position() {
      return (asked = after ??= storage?.getItem(storageKey) ?? "0");
    },

    tell(signal) {
      telling = telling
        .then(async () => {
          if (told === after && after !== "0") return;
          const { headers } = await ask(server, { after: receiver.position(), limit: "0" }, { signal });
          receiver.opened(headers.get("Inbox-Cursor"));
        })
        .catch(() => {}); // a later one, or whatever comes next, tells it too
    },

    busy: () => pending.length > 0,

    opened(cursor, isReset) {
      if (attempt.signal.aborted) return;
      told = asked;
      if (isReset) reset(cursor);
      else if (cursor && after === "0") move((told = cursor));
      if (receiver.transport) return;
      const transport = (receiver.transport = names[at]!);
      queueMicrotask(() => owner.onopen?.(transport));
    },

    take(wire) {
      const { cursor } = wire;
      if (attempt.signal.aborted || seen.has(cursor)) return;
      seen.add(cursor);
      if (seen.size > REMEMBERED) seen.delete(seen.values().next().value!);
      const entry = { content: readMessage(wire), handled: false };
      pending.push(entry);
      give(entry);
    },
  };
  return receiver;

  function give(entry: Entry): void {
    for (const reader of readers) {
      try {
        if (reader.failure || !(reader.options.match?.(entry.content) ?? true)) continue;
        reader.queue.push(entry);
        return;
      } catch (error) {
        reader.failure = error; // of this loop: the others go on
      } finally {
        reader.wake();
      }
    }
    // Unacknowledged, it would in the end stop all that come after it.
    entry.handled = true;
    if (kept.push(entry) > KEPT) kept.shift();
    settle();
  }

  /** Acknowledges what can be. */
  function settle(): void {
    let last: Entry | undefined;
    while (pending[0]?.handled) last = pending.shift();
    if (!last) return;
    move(last.content.cursor);
    receiver.onmove?.();
  }

  function move(cursor: string): void {
    after = cursor;
    try {
      storage?.setItem(storageKey, cursor);
    } catch {
      // Full, or forbidden: nothing is lost but what it is for.
    }
  }

  function reset(cursor?: string | null): void {
    pending.length = 0;
    seen.clear();
    move(cursor || "0");
    receiver.interrupted = Date.now();
    for (const { options } of readers) queueMicrotask(() => options.onreset?.());
  }

  /** Ends the attempt that goes on. What is not acknowledged will come again. */
  function halt(): void {
    for (const { content } of pending.splice(0)) seen.delete(content.cursor);
    attempt.abort();
  }

  /** Makes one connection after the other, as long as there is a loop. */
  async function run(): Promise<void> {
    running = true;
    let tries = 0;
    let wait: number | undefined;
    const restart = (fromTop: boolean): void => {
      if (fromTop) at = 0;
      if (!wait) attempt.abort();
    };
    const ends = new AbortController();
    onWake(restart, ends);
    for (at = 0; readers.size; ) {
      const index = at;
      const { signal } = (attempt = new AbortController());
      const begun = Date.now();
      const timer = setTimeout(() => index && restart(true), BETTER);
      const error = await transports[names[index]!](receiver, signal).catch(asInboxError);
      clearTimeout(timer);
      const opened = receiver.transport;
      receiver.transport = receiver.onmove = receiver.send = undefined;
      // A request that was given up can arrive after the next one, and take its place.
      if (signal.aborted) {
        left = Date.now();
        continue;
      }
      if (error.code === "replaced" && Date.now() - left < OVERTAKEN) {
        left = 0;
        continue;
      }
      if (error.code === "bad-cursor" && after !== "0") {
        reset();
        continue;
      }
      if (!error.passes) {
        receiver.end(error);
        break;
      }
      if (Date.now() - begun > LIVED) tries = 0;
      wait = error.retryAfter;
      // A proxy may let the next transport through.
      if ((!opened || tries > 2) && !wait && index + 1 < names.length) {
        at++;
        continue;
      }
      if (!opened) at = 0;
      receiver.interrupted = Date.now();
      queueMicrotask(() => owner.onaway?.(error));
      await pauseBeforeTry(tries++, error, signal);
      wait = undefined;
    }
    ends.abort();
    running = false;
  }
}
