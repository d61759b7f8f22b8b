import { InboxError } from "./errors.js";
import type { Link } from "./link.js";
import { readMessage, type Message } from "./message.js";
import { poll } from "./poll.js";
import { ANSWER_TIMEOUT, ask, trim, track, type Server } from "./request.js";
import { socket } from "./socket.js";
import { stream } from "./stream.js";
import { asInboxError, onWake, pause, pauseBeforeTry } from "./wait.js";

/** How messages are received: over a WebSocket, from one answer that does not end, or by requests that wait. */
export type Transport = "socket" | "stream" | "poll";

/** The best first. */
const transports = { socket, stream, poll };

/** Bounds the messages that are kept before a loop asks for them. */
const MAX_UNASKED = 100;
/** Bounds the cursors that are remembered, to know what comes again. */
const MAX_CURSORS = 2000;
/** A connection that ends sooner than this counts as a failed one. */
const WORKING_AFTER = 10_000;
/** How much later than the next attempt one that was given up can arrive. */
const MAX_LATENESS = 1000;
/** How long an inbox lives that nobody asks. */
const INBOX_LIFE = 60_000;
/** How long to stay with a transport before trying a better one again. */
const UPGRADE_AFTER = 300_000;

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
  /** Whether an inbox server has answered here. What does not is in its way for a while. */
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
  let closing = false;
  /** To be called when the server has answered an attempt, and when no more are made. */
  let settled = (): void => {};
  let rested = (): void => {};

  const receiver: Receiver = {
    server,
    interrupted: 0,
    known: false,

    async *messages(options) {
      const { signal } = options;
      if (signal?.aborted) return;
      if (closing) await server.place.closing;
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
      if (closing) return;
      halt();
      if (error.code !== "closed") return;
      // The next loop begins anew.
      after = undefined;
      storage?.removeItem(storageKey);
    },

    async close(signal) {
      const first = Promise.allSettled([server.place.closing, ...server.due]);
      closing = true;
      server.closes++;
      receiver.end(new InboxError("closed", 409));
      try {
        // What reached the server after the DELETE would open the inbox again. A page that is left has no time for that.
        if (!/hide|unload/.test(`${(globalThis as { event?: Event }).event?.type}`)) await pause(ANSWER_TIMEOUT, signal, (wake) => void first.then(wake));
        // Of an inbox that was not asked for long nobody knows which life it is in.
        const recent = running || Date.now() - server.place.left < INBOX_LIFE;
        for (let life: string | undefined = ""; life !== after; ) {
          life = after;
          await ask(server, life && life !== "0" && receiver.known && recent ? { life } : {}, { method: "DELETE", form: /^204/, keepalive: true, signal });
          // The server ends what waits there. What comes only now opens another life.
          if (running) await pause(1000, signal, (wake) => void (rested = wake));
        }
      } finally {
        closing = false;
        receiver.end(new InboxError("closed", 409));
      }
    },

    position() {
      return (asked = after ??= storage?.getItem(storageKey) ?? "0");
    },

    tell(signal) {
      telling = telling
        .then(async () => {
          if (told === after && after !== "0") return;
          const { headers } = await ask(server, { after: receiver.position(), limit: "0" }, { signal, form: /^204/ });
          receiver.opened(headers.get("Inbox-Cursor"));
        })
        .catch(() => {}); // a later one, or whatever comes next, tells it too
    },

    busy: () => pending.length > 0,

    opened(cursor, isReset) {
      if (attempt.signal.aborted) return;
      receiver.known = true;
      told = asked;
      if (isReset) reset(cursor);
      else if (cursor && after === "0") move((told = cursor));
      // A stream is told by a request which life it is of.
      if (after !== "0") {
        settled();
        if (closing) halt();
      }
      if (closing || receiver.transport) return;
      const transport = (receiver.transport = names[at]!);
      queueMicrotask(() => owner.onopen?.(transport));
    },

    take(wire) {
      const { cursor } = wire;
      if (attempt.signal.aborted || seen.has(cursor)) return;
      seen.add(cursor);
      trim(seen, MAX_CURSORS);
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
    if (kept.push(entry) > MAX_UNASKED) kept.shift();
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
    // Of an earlier object for this inbox, or of another run of this one.
    if (server.place.closing) await server.place.closing;
    for (at = 0; readers.size; ) {
      const index = at;
      const { signal } = (attempt = new AbortController());
      const begun = Date.now();
      const timer = setTimeout(() => index && restart(true), UPGRADE_AFTER);
      void track(server, new Promise<void>((resolve) => (settled = resolve)));
      let error = await transports[names[index]!](receiver, signal).catch(asInboxError);
      settled();
      clearTimeout(timer);
      const opened = receiver.transport;
      receiver.transport = receiver.onmove = receiver.send = undefined;
      const another = !error.retryAfter && index + 1 < names.length;
      // A socket does not tell why it fails. The answer to a request does: it takes and replaces nothing.
      if (!signal.aborted && names[index] === "socket" && (error.status === 400 || (!opened && !another && error.code !== "not-inbox"))) {
        const own = error.status === 400 ? new InboxError("unreachable") : error;
        error = await ask(server, { after: receiver.position(), limit: "0" }, { signal, form: /^204/ }).then(() => own, asInboxError);
      }
      // A request that was given up can arrive after the next one, and take its place.
      if (signal.aborted) {
        server.place.left = Date.now();
        continue;
      }
      if (error.code === "replaced" && Date.now() - server.place.left < MAX_LATENESS) {
        server.place.left = 0;
        continue;
      }
      if (error.code === "bad-cursor" && after !== "0") {
        reset();
        continue;
      }
      const intruder = error.code === "not-inbox" && (receiver.known || another);
      if (!error.passes && !intruder) {
        receiver.end(error);
        break;
      }
      if (Date.now() - begun > WORKING_AFTER) tries = 0;
      wait = error.retryAfter;
      // A proxy may let the next transport through.
      if ((!opened || tries > 2) && another) {
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
    rested();
  }
}
