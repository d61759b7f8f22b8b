/**
 * The inbox protocol, version 1, over HTTP: send, receive with acknowledgement,
 * and try again as the protocol asks for.
 */

/** Longest wait the server is asked for, in seconds. */
const WAIT = 25;
/** A long poll that outlives its wait by this much hangs on a dead connection. */
const GRACE = 10_000;
/** Longest pause of our own choice between two tries; Retry-After can ask for more. */
const LONGEST_PAUSE = 15_000;
/** A Retry-After beyond this is not believed. */
const LONGEST_RETRY_AFTER = 120_000;

/** An answer of the server that is no success, or no answer: then the code is "unreachable". */
export class InboxError extends Error {
  /**
   * @param {string} code what programs read, as in problem+json
   * @param {number} status the HTTP status, 0 without an answer
   * @param {string} detail for people
   * @param {number} [retryAfter] milliseconds that the server asks to wait
   */
  constructor(code, status, detail, retryAfter) {
    super(detail);
    this.name = "InboxError";
    this.code = code;
    this.status = status;
    this.retryAfter = retryAfter;
  }

  /** Whether the same request can succeed later without being changed. */
  get passes() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

/**
 * @typedef {object} Message
 * @property {"message"} type
 * @property {string} from the sender's id
 * @property {string} time
 * @property {unknown} data the body, read as JSON; undefined if it is none
 * @property {string} [body] the body as text, if it is text
 */

/**
 * @typedef {object} Reset mail may have been missed: the inbox began another life
 * @property {"reset"} type
 */

/** One peer's inbox on one server. Nothing is asked of the server before messages() or send(). */
export class Inbox {
  #url;
  #authorization;
  #storage;
  #cursorKey;
  /** @type {Map<string, Promise<void>>} the last send to each recipient, so that sends keep their order */
  #lastSend = new Map();
  /** @type {Set<() => void>} */
  #pauses = new Set();
  /** @type {AbortController | undefined} */
  #poll;

  /**
   * @param {object} options
   * @param {string | URL} options.url the address of the server's /inbox
   * @param {string} options.id
   * @param {string} options.password
   * @param {Storage} [options.storage] keeps the cursor, so that a page that was reloaded goes on where it was
   */
  constructor({ url, id, password, storage }) {
    this.#url = new URL(url);
    this.#authorization = basic(id, password);
    this.#storage = storage;
    this.#cursorKey = `inbox:cursor:${this.#url.href}:${id}`;
  }

  /**
   * Sends an object, as JSON. Tries again, under the same Idempotency-Key, for as
   * long as that can help. Sends to one recipient go out one after the other.
   * @param {string} to
   * @param {unknown} data
   * @param {object} [options]
   * @param {AbortSignal} [options.signal]
   * @param {number} [options.patience] milliseconds to go on trying while the recipient has no inbox
   * @param {(error: InboxError) => void} [options.onretry] called before each pause
   * @returns {Promise<void>} resolves when the message is in the recipient's inbox
   */
  send(to, data, options = {}) {
    const earlier = this.#lastSend.get(to) ?? Promise.resolve();
    const sent = earlier.catch(() => {}).then(() => this.#send(to, JSON.stringify(data), options));
    this.#lastSend.set(to, sent);
    const forget = () => {
      if (this.#lastSend.get(to) === sent) this.#lastSend.delete(to);
    };
    sent.then(forget, forget);
    return sent;
  }

  /**
   * Sends without waiting for anything, from a page that is going away.
   * @param {string} to
   * @param {unknown} data
   */
  sendLast(to, data) {
    fetch(this.#address({ to }), {
      ...this.#options("POST"),
      body: JSON.stringify(data),
      keepalive: true,
    }).catch(() => {});
  }

  /**
   * Receives, for ever. A message is acknowledged when the loop comes back for
   * the next one, so one that was not handled to its end is received again.
   * @param {object} options
   * @param {AbortSignal} options.signal ends the loop
   * @param {() => void} [options.onopen] called when the server answers, at first and after onaway
   * @param {(error: InboxError) => void} [options.onaway] called before each pause
   * @returns {AsyncGenerator<Message | Reset, void, void>}
   * @throws {InboxError} what trying again cannot help
   */
  async *messages({ signal, onopen, onaway }) {
    let cursor = this.#storage?.getItem(this.#cursorKey) ?? "0";
    let open = false;
    let tries = 0;
    while (!signal.aborted) {
      const asked = performance.now();
      let answer;
      try {
        // The first request does not wait, so that one knows at once that the inbox is open.
        answer = await this.#receive(cursor, open ? WAIT : 0, signal);
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof InboxError)) throw error;
        if (error.code === "woken") continue;
        if (error.code === "bad-cursor" && cursor !== "0") {
          // The cursor is of another server that had this address.
          cursor = this.#remember("0");
          yield { type: "reset" };
          continue;
        }
        if (!error.passes) throw error;
        open = false;
        onaway?.(error);
        await this.#pause(pauseBefore(++tries, error), signal);
        continue;
      }
      tries = 0;
      if (!open) onopen?.();
      if (answer.reset) {
        cursor = this.#remember(answer.cursor ?? "0");
        yield { type: "reset" };
      }
      for (const message of answer.messages) {
        yield { type: "message", from: message.from, time: message.time, body: message.body, data: parse(message.body) };
        cursor = this.#remember(message.cursor);
      }
      if (answer.messages.length === 0) {
        if (answer.cursor !== undefined) cursor = this.#remember(answer.cursor);
        // A server or proxy that never waits must not make this a hot loop.
        const took = performance.now() - asked;
        if (open && took < 1000) await this.#pause(1000 - took, signal);
      }
      open = true;
    }
  }

  /** Ends every pause, and asks anew: for when the network is back. */
  wake() {
    this.#poll?.abort(new InboxError("woken", 0, "asked anew"));
    for (const end of [...this.#pauses]) end();
  }

  /**
   * Closes the inbox on the server.
   * @param {{signal?: AbortSignal}} [options]
   */
  async close({ signal } = {}) {
    this.#storage?.removeItem(this.#cursorKey);
    await this.#ask("DELETE", {}, { signal, timeout: GRACE });
  }

  /**
   * @param {string} to
   * @param {string} body
   * @param {{signal?: AbortSignal, patience?: number, onretry?: (error: InboxError) => void}} options
   */
  async #send(to, body, { signal, patience = 0, onretry }) {
    const headers = { "Idempotency-Key": randomKey() };
    const until = performance.now() + patience;
    for (let tries = 0; ; ) {
      signal?.throwIfAborted();
      try {
        await this.#ask("POST", { to }, { headers, body, signal, timeout: GRACE });
        return;
      } catch (error) {
        if (!(error instanceof InboxError)) throw error;
        const absent = error.code === "no-such-inbox" && performance.now() < until;
        if (!error.passes && !absent) throw error;
        onretry?.(error);
        const pause = pauseBefore(++tries, error);
        await this.#pause(absent ? Math.min(pause, 4000) : pause, signal);
      }
    }
  }

  /**
   * @param {string} after
   * @param {number} wait
   * @param {AbortSignal} signal
   * @returns {Promise<{cursor?: string, messages: any[], reset: boolean}>}
   */
  async #receive(after, wait, signal) {
    this.#poll = new AbortController();
    const { response, text } = await this.#ask("GET", { after, wait }, {
      headers: { Accept: "application/json" },
      signal: AbortSignal.any([signal, this.#poll.signal]),
      timeout: wait * 1000 + GRACE,
    });
    if (response.status === 204) {
      const reset = response.headers.get("Inbox-Reset") === "true";
      return { cursor: response.headers.get("Inbox-Cursor") ?? undefined, messages: [], reset };
    }
    const answer = parse(text);
    if (!Array.isArray(answer?.messages)) {
      throw new InboxError("unreachable", 0, "The answer is not from an inbox server.");
    }
    return { cursor: answer.cursor, messages: answer.messages, reset: answer.reset === true };
  }

  /**
   * One request, one answer.
   * @param {string} method
   * @param {Record<string, string | number>} query
   * @param {{headers?: Record<string, string>, body?: string, signal?: AbortSignal, timeout: number}} options
   */
  async #ask(method, query, { headers, body, signal, timeout }) {
    // Not AbortSignal.timeout: a browser may collect one that only AbortSignal.any refers to.
    const ends = new AbortController();
    const timer = setTimeout(() => ends.abort(), timeout);
    let response, text;
    try {
      const options = this.#options(method, headers);
      response = await fetch(this.#address(query), {
        ...options,
        body,
        signal: signal ? AbortSignal.any([signal, ends.signal]) : ends.signal,
      });
      text = await response.text();
    } catch {
      signal?.throwIfAborted();
      throw new InboxError("unreachable", 0, "The server does not answer.");
    } finally {
      clearTimeout(timer);
    }
    if (response.ok) return { response, text };
    const problem = parse(text);
    throw new InboxError(
      typeof problem?.code === "string" ? problem.code : `http-${response.status}`,
      response.status,
      typeof problem?.detail === "string" ? problem.detail : response.statusText,
      readRetryAfter(response.headers.get("Retry-After")),
    );
  }

  /** @param {Record<string, string | number>} query */
  #address(query) {
    const pairs = Object.entries(query).map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
    return pairs.length === 0 ? this.#url.href : `${this.#url.href}?${pairs.join("&")}`;
  }

  /**
   * @param {string} method
   * @param {Record<string, string>} [headers]
   * @returns {RequestInit}
   */
  #options(method, headers) {
    // Without credentials the browser neither adds what it remembers nor asks for a password.
    return {
      method,
      headers: { Authorization: this.#authorization, ...headers },
      credentials: "omit",
      cache: "no-store",
      redirect: "error",
    };
  }

  /** @param {string} cursor */
  #remember(cursor) {
    this.#storage?.setItem(this.#cursorKey, cursor);
    return cursor;
  }

  /**
   * @param {number} milliseconds
   * @param {AbortSignal} [signal]
   * @returns {Promise<void>} resolves early on wake() and when the signal aborts
   */
  #pause(milliseconds, signal) {
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.#pauses.delete(end);
        signal?.removeEventListener("abort", end);
        resolve();
      };
      const timer = setTimeout(end, milliseconds);
      this.#pauses.add(end);
      signal?.addEventListener("abort", end);
      if (signal?.aborted) end();
    });
  }
}

/**
 * A random name for something: 16 bytes, as 32 characters.
 * @returns {string}
 */
export function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * The Authorization header of RFC 7617, with charset UTF-8; btoa alone takes Latin-1 only.
 * @param {string} id
 * @param {string} password
 * @returns {string}
 */
export function basic(id, password) {
  const bytes = new TextEncoder().encode(`${id}:${password}`);
  return `Basic ${btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""))}`;
}

/**
 * How long to pause before a try: doubling, never shorter than the server asks
 * for, and jittered, so that peers that were cut off together do not come back together.
 * @param {number} tries how many failed in a row
 * @param {InboxError} error
 */
function pauseBefore(tries, error) {
  const own = Math.min(LONGEST_PAUSE, 250 * 2 ** tries) * (0.5 + Math.random() / 2);
  if (error.retryAfter === undefined) return own;
  const asked = Math.min(error.retryAfter, LONGEST_RETRY_AFTER);
  return Math.max(own, asked + Math.random() * Math.max(500, asked / 4));
}

/** @param {string | null} value seconds, or a date */
function readRetryAfter(value) {
  if (value === null || value === "") return undefined;
  const seconds = Number(value);
  const milliseconds = Number.isNaN(seconds) ? Date.parse(value) - Date.now() : seconds * 1000;
  return Number.isNaN(milliseconds) ? undefined : Math.max(0, milliseconds);
}

/**
 * @param {unknown} text
 * @returns {any} undefined for what is no JSON
 */
function parse(text) {
  if (typeof text !== "string") return undefined;
  try {
    return JSON.parse(text) ?? undefined;
  } catch {
    return undefined;
  }
}
