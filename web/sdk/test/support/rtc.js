/** Fake connections and inboxes, as far as calls need them. */

import { mock } from "node:test";
import { settle } from "./net.js";

let made = 0;

/** A fake RTCPeerConnection that negotiates with another one. Tests control its ICE. */
export class FakePeerConnection extends EventTarget {
  /** @type {FakePeerConnection[]} */
  static all = [];

  id = ++made;
  signalingState = "stable";
  connectionState = "new";
  localDescription = null;
  remoteDescription = null;
  added = [];
  given = [];
  /** Whether offers list their sections, as those of browsers do. */
  sections = false;
  answersFail = false;
  restarts = 0;
  #media = 0;
  #offers = 0;
  #needed = false;
  #stable = [null, null];
  #chain = Promise.resolve();

  constructor(configuration) {
    super();
    this.configuration = configuration;
    FakePeerConnection.all.push(this);
  }

  createDataChannel(label, options) {
    this.#media++;
    this.channel = { label, ...options };
    this.#need();
    return this.channel;
  }

  getConfiguration() {
    return this.configuration;
  }

  /** The result of getStats. */
  stats = new Map();

  async getStats() {
    return this.stats;
  }

  setConfiguration(configuration) {
    this.#open();
    this.configuration = configuration;
  }

  restartIce() {
    this.restarts++;
    this.#need();
  }

  #need() {
    this.#needed = true;
    if (this.signalingState === "stable") setImmediate(() => this.#fire());
  }

  #fire() {
    if (this.#needed && this.signalingState === "stable") {
      this.#needed = false;
      this.dispatchEvent(new Event("negotiationneeded"));
    }
  }

  async createOffer() {
    const sdp = this.localDescription || this.remoteDescription ? this.#offer() : this.#sections;
    return { type: "offer", sdp };
  }

  #offer() {
    return [`${this.id} offers ${++this.#offers}`, this.sections && this.#sections].filter(Boolean).join("\n");
  }

  get #sections() {
    return Array(this.#media).fill("m=application").join("\n");
  }

  async createAnswer() {
    if (this.answersFail) throw new Error("no answer can be made");
    return { type: "answer", sdp: `${this.id} answers ${this.remoteDescription.sdp} typ relay` };
  }

  setLocalDescription(given) {
    return this.#inTurn(async () => {
      this.#open();
      if (given?.type === "rollback") {
        if (this.signalingState !== "have-local-offer") throw new Error("nothing to roll back");
        this.#rollBack();
        this.#settled();
        return;
      }
      if (this.signalingState === "have-remote-offer") {
        this.localDescription = given ?? (await this.createAnswer());
        this.#settled();
      } else {
        this.#needed = false;
        this.localDescription = given ?? { type: "offer", sdp: this.#offer() };
        this.signalingState = "have-local-offer";
      }
      setImmediate(() => this.gather());
    });
  }

  setRemoteDescription({ type, sdp }) {
    return this.#inTurn(() => {
      this.#open();
      if (typeof sdp !== "string") throw new TypeError("no description");
      if (type === "rollback") {
        if (this.signalingState !== "have-remote-offer") throw new Error("nothing to roll back");
        [, this.remoteDescription] = this.#stable;
        this.#settled();
        return;
      }
      if (sdp.includes("impossible")) throw new Error("the browser does not take it");
      if (type === "offer") {
        if (this.signalingState === "have-local-offer") this.#rollBack();
        this.signalingState = "have-remote-offer";
      } else {
        if (this.signalingState !== "have-local-offer") throw new Error("no offer was made");
        if (!sdp.includes(this.localDescription.sdp)) throw new Error(`${sdp} does not answer ${this.localDescription.sdp}`);
      }
      this.remoteDescription = { type, sdp };
      if (type === "answer") this.#settled();
    });
  }

  #rollBack() {
    [this.localDescription] = this.#stable;
    this.rolledBack = true;
    this.#needed = true;
  }

  #settled() {
    this.signalingState = "stable";
    this.#stable = [this.localDescription, this.remoteDescription];
    if (this.#needed) setImmediate(() => this.#fire());
  }

  #open() {
    if (this.signalingState === "closed") throw new Error("closed");
  }

  #inTurn(work) {
    const done = this.#chain.then(work);
    this.#chain = done.catch(() => {});
    return done;
  }

  gather(...texts) {
    if (texts.length === 0) texts = [`candidate:1 1 udp 1 10.0.0.${this.id} 1 typ host`, `candidate:2 1 udp 1 10.1.0.${this.id} 1 typ srflx`, undefined];
    for (const text of texts) {
      this.dispatchEvent(Object.assign(new Event("icecandidate"), { candidate: text ? { candidate: text, sdpMid: "0" } : null }));
    }
  }

  async addIceCandidate(candidate) {
    if (!this.remoteDescription) throw new Error("too early");
    // As browsers do.
    if (candidate.candidate && (candidate.sdpMid ?? candidate.sdpMLineIndex ?? undefined) === undefined) throw new TypeError("no mid");
    if (candidate.candidate.includes("unknown")) throw new Error("unknown");
    this.given.push(candidate);
    this.added.push(candidate.candidate);
  }

  /** Changes the connection state. */
  becomes(state) {
    this.connectionState = state;
    this.dispatchEvent(new Event("connectionstatechange"));
  }

  close() {
    this.signalingState = this.connectionState = "closed";
    this.closed = true;
  }
}

/** A fake inbox for calls. It records what is sent, or delivers it to another one. */
export class FakeInbox {
  /** @type {{to: string, data: any, signal: AbortSignal, wait: number, last: boolean}[]} */
  sent = [];
  loops = 0;
  /** Handles a send. */
  sends = async () => {};
  #queue = [];
  #wake = () => {};

  constructor(id) {
    this.id = id;
    this.server = { url: new URL("https://inbox.example/base/inbox?tenant=7"), id, password: "secret", shared: { abandonedAt: 0 }, inFlight: new Set() };
  }

  async send(to, data, { signal, wait, last } = {}) {
    signal?.throwIfAborted();
    const copy = JSON.parse(JSON.stringify(data));
    this.sent.push({ to, data: copy, signal, wait, last });
    await this.sends(to, copy, signal);
  }

  /** Returns the signals since the last call, of one type if it is given. */
  take(type) {
    return this.sent.splice(0).map(({ data }) => data).filter((data) => !type || data.type === type);
  }

  async *messages({ signal, match, onreset }) {
    this.loops++;
    this.reset = onreset;
    this.match = match;
    const wake = () => this.#wake();
    signal.addEventListener("abort", wake);
    try {
      while (!signal.aborted) {
        const next = this.#queue.shift();
        if (next instanceof Error) throw next;
        if (next) yield next;
        else await new Promise((resolve) => (this.#wake = resolve));
      }
    } finally {
      this.loops--;
    }
  }

  /** Delivers a message, or ends the loop with an error. */
  async hears(from, data) {
    const message = from instanceof Error ? from : { from, data };
    if (from instanceof Error || this.match?.(message)) this.#queue.push(message);
    this.#wake();
    await settle();
  }
}

/** Installs the fakes and a clock that tests advance. */
export function fakeCalls(t) {
  const page = new EventTarget();
  FakePeerConnection.all = [];
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: Date.UTC(2026, 0, 2) });
  const { RTCPeerConnection, addEventListener, fetch } = globalThis;
  const before = { RTCPeerConnection, addEventListener, fetch };
  globalThis.RTCPeerConnection = FakePeerConnection;
  /** Answers GET /ice, and records the requests and the outcomes of POST /outcome. */
  const server = { ice: async () => new Response("", { status: 404 }), asked: [], outcomes: [] };
  globalThis.fetch = async (url, init) => {
    server.asked.push({ url: `${url}`, ...init });
    if (!init.method) return server.ice(init);
    server.outcomes.push(JSON.parse(init.body));
    return new Response(null, { status: 204, headers: { "Cache-Control": "no-store" } });
  };
  globalThis.addEventListener = page.addEventListener.bind(page);
  t.after(() => {
    mock.timers.reset();
    Object.assign(globalThis, before);
    for (const [name, value] of Object.entries(before)) if (value === undefined) delete globalThis[name];
  });
  return { fire: (type) => page.dispatchEvent(new Event(type)), server };
}

/** The answer of a server that offers these ICE servers. */
export const knows = (iceServers, ttl = 43_200) => async () =>
  new Response(JSON.stringify({ iceServers, ttl }), { headers: { "Cache-Control": "no-store", "Content-Type": "application/json" } });

/** Watches how a promise settles, without waiting for it. */
export function watch(promise) {
  const watched = { state: "pending", value: undefined, error: undefined };
  promise.then(
    (value) => Object.assign(watched, { state: "done", value }),
    (error) => Object.assign(watched, { state: "failed", error }),
  );
  return watched;
}
