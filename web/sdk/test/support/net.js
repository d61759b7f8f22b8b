/** A fake network: tests see each request and socket, and answer them. */

import assert from "node:assert/strict";
import { mock } from "node:test";

/** Runs everything that does not wait for the clock. */
export async function settle() {
  for (let i = 0; i < 4; i++) await new Promise(setImmediate);
}

/** Advances the clock in small steps, so that a timer's work can set the next timer. */
export async function advance(ms, step = 100) {
  for (let left = ms; left > 0; left -= step) {
    mock.timers.tick(Math.min(step, left));
    await settle();
  }
}

/** Counts the tests. Each starts in a separate minute, since inboxes of one name share state. */
let tests = 0;

/** The SDK's surroundings, controlled by a test. */
export function fakeNet(t) {
  /** @type {Request_[]} */
  const requests = [];
  /** @type {FakeSocket[]} */
  const sockets = [];
  const page = new EventTarget();

  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: Date.UTC(2026, 0, 2) + 60_000 * tests++ });
  mock.method(Math, "random", () => 0.5);
  const before = { ...globals() };
  globalThis.fetch = (url, init) => {
    const request = new Request_(url, init);
    requests.push(request);
    return request.response;
  };
  globalThis.addEventListener = page.addEventListener.bind(page);
  globalThis.removeEventListener = page.removeEventListener.bind(page);
  globalThis.document = { hidden: false };
  globalThis.WebSocket = undefined;
  delete globalThis.WebSocket;

  t.after(() => {
    mock.timers.reset();
    mock.restoreAll();
    for (const [name, value] of Object.entries(before)) {
      if (value === undefined) delete globalThis[name];
      else globalThis[name] = value;
    }
  });

  async function take(list, fits, what) {
    await settle();
    const at = list.findIndex((one) => !one.taken && fits(one));
    assert.notEqual(at, -1, `there is no ${what} among ${JSON.stringify(list.filter((one) => !one.taken).map(String))}`);
    list[at].taken = true;
    return list[at];
  }

  return {
    requests,
    sockets,
    page,
    /** Fires an event of the page. */
    fire: (type) => page.dispatchEvent(new Event(type)),
    /** Makes WebSocket available. */
    withSockets() {
      globalThis.WebSocket = class extends FakeSocket {
        constructor(...given) {
          super(...given);
          sockets.push(this);
        }
      };
    },
    /** Returns the next unseen request, of a method if it is given. */
    request: (method = "GET", fits = () => true) =>
      take(requests, (request) => request.method === method && fits(request), method),
    socket: () => take(sockets, () => true, "socket"),
    /** Returns how many requests are unseen. */
    async open(method) {
      await settle();
      return requests.filter((request) => !request.taken && (!method || request.method === method)).length;
    },
  };
}

function globals() {
  const { fetch, addEventListener, removeEventListener, document, WebSocket, RTCPeerConnection } = globalThis;
  return { fetch, addEventListener, removeEventListener, document, WebSocket, RTCPeerConnection };
}

class Request_ {
  constructor(url, init) {
    this.url = new URL(url);
    this.query = Object.fromEntries(this.url.searchParams);
    this.init = init;
    this.method = init.method ?? "GET";
    this.headers = new Headers(init.headers);
    this.body = init.body;
    this.aborted = false;
    this.response = new Promise((resolve, reject) => Object.assign(this, { resolve, reject }));
    init.signal?.addEventListener("abort", () => {
      this.aborted = true;
      this.reject(init.signal.reason);
      this.stream?.error(init.signal.reason);
    });
    if (init.signal?.aborted) this.reject(init.signal.reason);
  }

  toString() {
    return `${this.method} ${this.url.search}`;
  }

  /** Answers as an inbox server does, unless the headers say otherwise. */
  async answer(status = 200, headers = {}, body = "") {
    const own = { "Cache-Control": "no-store", ...(this.method === "GET" && status < 300 && { "Inbox-Cursor": "c0" }), ...headers };
    const response = new Response(status === 204 ? null : new TextEncoder().encode(body), { status, headers: own });
    this.resolve(response);
    await settle();
  }

  async problem(status, code, headers = {}) {
    await this.answer(status, { "Content-Type": "application/problem+json", ...headers }, JSON.stringify({ status, code, detail: "words" }));
  }

  /** Fails as without a network. */
  async fail() {
    this.reject(new TypeError("fetch failed"));
    await settle();
  }

  /** Answers a poll with messages, each a body; their cursors are c and a number. */
  async messages(...bodies) {
    await this.answer(200, { "Content-Type": "application/json" }, JSON.stringify({ messages: bodies.map(wire) }));
  }

  async nothing(cursor = "c0") {
    await this.answer(204, { "Inbox-Cursor": cursor });
  }

  /** Answers with a stream and returns a function that writes to it. */
  async streams() {
    this.resolve(
      new Response(new ReadableStream({ start: (stream) => void (this.stream = stream) }), {
        headers: { "Content-Type": "text/event-stream", "Cache-Control": "no-store" },
      }),
    );
    await settle();
    return {
      write: async (text) => {
        this.stream.enqueue(typeof text === "string" ? new TextEncoder().encode(text) : text);
        await settle();
      },
      end: async () => {
        this.stream.close();
        await settle();
      },
    };
  }
}

/** A message in the server's JSON, from [cursor, body] or {…}. */
export function wire(given) {
  const [cursor, body] = Array.isArray(given) ? given : [given.cursor, undefined];
  return { cursor, from: "bob", time: "2026-01-02T03:04:05.678901234Z", ...(body === undefined ? given : { body }) };
}

export function event(given) {
  const message = wire(given);
  return `id: ${message.cursor}\nevent: message\ndata: ${JSON.stringify(message)}\n\n`;
}

class FakeSocket {
  said = [];
  readyState = 0;

  constructor(url, protocol) {
    this.url = url;
    this.protocol = protocol;
  }

  send(text) {
    this.said.push(JSON.parse(text));
  }

  close() {
    this.closed = true;
  }

  toString() {
    return this.url;
  }

  /** Completes the handshake and opens the inbox. */
  async open(opened = { cursor: "c0" }) {
    this.onopen();
    await this.hears({ type: "opened", ...opened });
  }

  async hears(frame) {
    this.onmessage({ data: JSON.stringify(frame) });
    await settle();
  }

  async message(given) {
    await this.hears({ type: "message", ...wire(given) });
  }

  async drop(code = 1006, reason = "") {
    this.onclose({ code, reason });
    await settle();
  }

  /** Returns the frames since the last call, without pings. */
  heard() {
    return this.said.splice(0);
  }
}

/** Reads a loop in the background, and records its items and its end. */
export function collect(iterable, each = () => {}) {
  const result = { items: [], texts: [], error: undefined, done: false };
  result.ended = (async () => {
    try {
      for await (const item of iterable) {
        result.items.push(item);
        result.texts.push(item.text);
        await each(item);
      }
    } catch (error) {
      result.error = error;
    }
    result.done = true;
  })();
  return result;
}
