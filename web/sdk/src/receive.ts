import { InboxError } from "./errors.js";
import type { Link } from "./link.js";
import { readMessage, type Message, type RoomEvent } from "./message.js";
import { poll } from "./poll.js";
import { ANSWER_TIMEOUT, requestText, track, trim, type Server } from "./request.js";
import { socket } from "./socket.js";
import { stream } from "./stream.js";
import { asInboxError, onWake, pause, pauseBeforeTry } from "./wait.js";

/** How messages are received: `socket` is a WebSocket, `stream` one response that does not end, `poll` a series of long polls. */
export type Transport = "socket" | "stream" | "poll";

/** In order of preference. */
const transports = { socket, stream, poll };

/** Bounds the messages that are kept for a later loop. */
const MAX_UNCLAIMED = 100;
/** Bounds the cursors that are remembered to drop duplicates. */
const MAX_CURSORS = 2000;
/** A connection that ends sooner counts as failed, in milliseconds. */
const WORKING_AFTER = 10_000;
/** How long after it was abandoned a request may still reach the server, in milliseconds. */
const MAX_LATENESS = 1000;
/** The time to live of an inbox without a receiver, in milliseconds. */
const INBOX_TTL = 60_000;
/** How long to stay with a transport before trying a better one again, in milliseconds. */
const UPGRADE_AFTER = 300_000;

/** Options of {@link Inbox.messages}. */
export interface MessagesOptions {
  /** Ends the loop. */
  signal?: AbortSignal | undefined;
  /**
   * Selects the messages for this loop; by default it gets all. If several loops run, a
   * message goes to the oldest one that selects it. Signals of calls go to `connect` and
   * `accept` first. An exception from `match` ends its loop.
   */
  match?: ((message: Message) => boolean) | undefined;
  /**
   * Called when messages may have been lost: the inbox had expired, the server restarted
   * without its inboxes, or the server could not be reached before its first answer.
   */
  onreset?: (() => void) | undefined;
  /**
   * Gives this loop precedence over older ones.
   * @internal
   */
  first?: boolean;
}

/** A message on its way to a loop. */
interface Entry {
  readonly content: Message;
  /** Truthy if the loop has finished with it, or if it is a change of a room: it can be acknowledged. */
  handled: unknown;
}

/** A loop over messages. */
interface Reader {
  readonly options: MessagesOptions;
  readonly queue: Entry[];
  wake: () => void;
  /** Why the loop ends. */
  failure?: unknown;
}

/**
 * Gets the events of a receiver.
 * @internal
 */
export interface Owner {
  onopen: ((transport: Transport) => void) | undefined;
  onaway: ((error: InboxError) => void) | undefined;
  onroom: ((event: RoomEvent) => void) | undefined;
}

/** Stores the cursor across reloads. `sessionStorage` and `localStorage` fit. */
export type CursorStorage = Pick<Storage, "getItem" | "setItem" | "removeItem">;

/**
 * Receives for all loops over one inbox, while there are any.
 * @internal
 */
export interface Receiver extends Link {
  /** The transport that receives at the moment. */
  transport?: Transport | undefined;
  /** When the server was last found unreachable, or had lost the inbox. */
  interruptedAt: number;
  /** Whether an inbox server has answered at this URL. If so, another answer is a passing problem. */
  known: boolean;
  messages(options: MessagesOptions): AsyncGenerator<Message, void, void>;
  /** Ends all loops. */
  end(error: InboxError): void;
  /** Closes the inbox, and ends all loops. */
  close(signal: AbortSignal | undefined): Promise<void>;
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
  /** The position: everything up to this cursor is acknowledged. */
  let after: string | undefined;
  /** The position in the last request, and the last one that the server confirmed. */
  let requested: string | undefined;
  let confirmed: string | undefined;
  let acknowledging: Promise<unknown> = Promise.resolve();

  let readers = new Set<Reader>();
  /** The messages that are not acknowledged, in order. */
  const pending: Entry[] = [];
  const seen = new Set<string>();
  /** The messages that no loop has selected. */
  const unclaimed: Entry[] = [];

  let running = false;
  let attempt = new AbortController();
  /** The index of the current transport in names. */
  let current = 0;
  let closing = false;
  /** Called when the server has answered the current attempt. */
  let onanswer = (): void => {};
  /** Called when run has ended. */
  let onstop = (): void => {};

  const receiver: Receiver = {
    server,
    interruptedAt: 0,
    known: false,

    async *messages(options) {
      const { signal } = options;
      if (signal?.aborted) return;
      if (closing) await server.shared.closing;
      const reader: Reader = { options, queue: [], wake: () => {} };
      let entry: Entry | undefined;
      readers = new Set(options.first ? [reader, ...readers] : readers).add(reader);
      unclaimed.splice(0).forEach(dispatch);
      if (!running) void run();
      try {
        while (!signal?.aborted) {
          if ((entry = reader.queue.shift())) {
            yield entry.content;
            entry.handled = true;
            entry = undefined;
            acknowledgeHandled();
          } else if (reader.failure) {
            throw reader.failure;
          } else {
            await pause(Infinity, signal, (wake) => void (reader.wake = wake));
          }
        }
      } finally {
        if (entry) reader.queue.unshift(entry);
        if (readers.delete(reader)) {
          // Unfinished messages go to another loop. Without one, the next receiver gets them again.
          if (readers.size) reader.queue.forEach(dispatch);
          else {
            unclaimed.push(...reader.queue.filter(({ handled }) => handled));
            endAttempt();
            if (confirmed !== after) receiver.acknowledge(); // else the next receiver gets finished ones again
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
      if (closing) return;
      endAttempt();
      if (error.code !== "closed") return;
      // The next loop opens another life of the inbox.
      after = undefined;
      storage?.removeItem(storageKey);
    },

    async close(signal) {
      const first = Promise.allSettled([server.shared.closing, ...server.inFlight]);
      closing = true;
      server.closeCount++;
      receiver.end(new InboxError("closed", 409));
      try {
        // A request that reached the server after the DELETE would open the inbox again. A page that is being left cannot wait.
        if (!/hide|unload/.test(`${(globalThis as { event?: Event }).event?.type}`)) await pause(ANSWER_TIMEOUT, signal, (wake) => void first.then(wake));
        // The inbox may have expired since it was last used: then its life is unknown.
        const recent = running || Date.now() - server.shared.abandonedAt < INBOX_TTL;
        for (let life: string | undefined = ""; life !== after; ) {
          life = after;
          await requestText(server, life && life !== "0" && receiver.known && recent ? { life } : {}, { method: "DELETE", success: /^204/, keepalive: true, signal });
          // The DELETE ends a receiver that waits. One that arrives only now opens another life, which the loop closes too.
          if (running) await pause(1000, signal, (wake) => void (onstop = wake));
        }
      } finally {
        closing = false;
        receiver.end(new InboxError("closed", 409));
      }
    },

    position() {
      return (requested = after ??= storage?.getItem(storageKey) ?? "0");
    },

    acknowledge(signal) {
      acknowledging = acknowledging
        .then(async () => {
          if (confirmed === after && after !== "0") return;
          const { headers } = await requestText(server, { after: receiver.position(), limit: "0" }, { signal, success: /^204/ });
          receiver.opened(headers.get("Inbox-Cursor"));
        })
        .catch(() => {}); // every later request acknowledges it too
    },

    busy: () => pending.length > 0,

    opened(cursor, isReset) {
      if (attempt.signal.aborted) return;
      receiver.known = true;
      confirmed = requested;
      // A connection was lost before the server had confirmed a position: the inbox may have been lost with it.
      if (isReset || (after === "0" && receiver.interruptedAt && !receiver.transport)) reset(cursor);
      else if (cursor && after === "0") move((confirmed = cursor));
      // A stream opens without a cursor: the request that acknowledges for it brings one.
      if (after !== "0") {
        onanswer();
        if (closing) endAttempt();
      }
      if (closing || receiver.transport) return;
      const transport = (receiver.transport = names[current]!);
      queueMicrotask(() => owner.onopen?.(transport));
    },

    deliver(wire) {
      const { cursor, room } = wire;
      if (attempt.signal.aborted || seen.has(cursor)) return;
      seen.add(cursor);
      trim(seen, MAX_CURSORS);
      const entry = { content: readMessage(wire), handled: room };
      pending.push(entry);
      if (room) owner.onroom?.(room);
      else dispatch(entry);
      acknowledgeHandled();
    },
  };
  return receiver;

  /** Gives a message to the first loop that selects it. */
  function dispatch(entry: Entry): void {
    for (const reader of readers) {
      try {
        if (reader.failure || !(reader.options.match?.(entry.content) ?? true)) continue;
        reader.queue.push(entry);
        return;
      } catch (error) {
        reader.failure = error; // match threw, which ends only this loop
      } finally {
        reader.wake();
      }
    }
    // Left unacknowledged, the message would hold up those after it.
    entry.handled = true;
    if (unclaimed.push(entry) > MAX_UNCLAIMED) unclaimed.shift();
    acknowledgeHandled();
  }

  /** Moves the position past the messages that are handled. */
  function acknowledgeHandled(): void {
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
      // The storage is full or forbidden. Only a reload misses the cursor.
    }
  }

  function reset(cursor?: string | null): void {
    pending.length = 0;
    seen.clear();
    move(cursor || "0");
    receiver.interruptedAt = Date.now();
    for (const { options } of readers) queueMicrotask(() => options.onreset?.());
  }

  /** Ends the current attempt. The server delivers unacknowledged messages again. */
  function endAttempt(): void {
    for (const { content } of pending.splice(0)) seen.delete(content.cursor);
    attempt.abort();
  }

  /** Connects, and reconnects, while there are loops. */
  async function run(): Promise<void> {
    running = true;
    let tries = 0;
    let wait: number | undefined;
    const restart = (fromTop: boolean): void => {
      if (fromTop) current = 0;
      if (!wait) attempt.abort();
    };
    const ends = new AbortController();
    onWake(restart, ends);
    // Another object may be closing this inbox.
    if (server.shared.closing) await server.shared.closing;
    for (current = 0; readers.size; ) {
      const index = current;
      const { signal } = (attempt = new AbortController());
      const startedAt = Date.now();
      const timer = setTimeout(() => index && restart(true), UPGRADE_AFTER);
      void track(server, new Promise<void>((resolve) => (onanswer = resolve)));
      let error = await transports[names[index]!](receiver, signal).catch(asInboxError);
      onanswer();
      clearTimeout(timer);
      const opened = receiver.transport;
      receiver.transport = receiver.onmove = receiver.send = undefined;
      const another = !error.retryAfter && index + 1 < names.length;
      // A socket does not report why it failed. A request does; this one neither takes messages nor replaces a receiver.
      if (!signal.aborted && names[index] === "socket" && (error.status === 400 || (!opened && !another && error.code !== "not-inbox"))) {
        const own = error.status === 400 ? new InboxError("unreachable") : error;
        error = await requestText(server, { after: receiver.position(), limit: "0" }, { signal, success: /^204/ }).then(() => own, asInboxError);
      }
      // An abandoned request can reach the server after the next one, and replace it.
      if (signal.aborted) {
        server.shared.abandonedAt = Date.now();
        continue;
      }
      if (error.code === "replaced" && Date.now() - server.shared.abandonedAt < MAX_LATENESS) {
        server.shared.abandonedAt = 0;
        continue;
      }
      if (error.code === "bad-cursor" && after !== "0") {
        reset();
        continue;
      }
      const impostor = error.code === "not-inbox" && (receiver.known || another);
      if (!error.passes && !impostor) {
        receiver.end(error);
        break;
      }
      if (Date.now() - startedAt > WORKING_AFTER) tries = 0;
      wait = error.retryAfter;
      // A proxy may let the next transport through.
      if ((!opened || tries > 2) && another) {
        current++;
        continue;
      }
      if (!opened) current = 0;
      receiver.interruptedAt = Date.now();
      queueMicrotask(() => owner.onaway?.(error));
      await pauseBeforeTry(tries++, error, signal);
      wait = undefined;
    }
    ends.abort();
    running = false;
    onstop();
  }
}
