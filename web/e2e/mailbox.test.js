/** The protocol's client, without a browser: against the real server, through a network that misbehaves. */

import assert from "node:assert/strict";
import { createServer, request } from "node:http";
import { once } from "node:events";
import { after, before, beforeEach, test } from "node:test";
import { startServer, stopServers } from "./server.js";
import { Inbox, InboxError, basic, randomKey } from "../demo/assets/mailbox.js";

let server, network, url;
/** What the network does with the next requests, oldest first; undefined passes one on. */
let faults = [];
/** The requests that it saw. */
let seen = [];

before(async () => {
  server = await startServer();
  network = createServer((req, res) => {
    seen.push({ method: req.method, url: req.url, at: performance.now(), headers: req.headers });
    const fault = faults.shift();
    if (fault === "cut") return req.socket.destroy();
    if (typeof fault === "object") return res.writeHead(fault.status, fault.headers).end(fault.body);
    const onward = request(new URL(req.url, server.url), { method: req.method, headers: req.headers }, (answer) => {
      // The server has done it, but nobody learns of that.
      if (fault === "deaf") return answer.resume().on("end", () => req.socket.destroy());
      res.writeHead(answer.statusCode, answer.headers);
      answer.pipe(res);
    });
    onward.on("error", () => res.destroy());
    res.on("close", () => onward.destroy());
    req.pipe(onward);
  }).listen(0, "127.0.0.1");
  await once(network, "listening");
  url = `http://127.0.0.1:${network.address().port}/inbox`;
});
after(async () => {
  network.closeAllConnections();
  network.close();
  await stopServers();
});
beforeEach(() => {
  faults = [];
  seen = [];
});

/** A peer, and its messages until a number of them is there. */
function peer(id = `peer-${randomKey()}`, storage) {
  const inbox = new Inbox({ url, id, password: "pass:wörd", storage });
  const take = async (count, options = {}) => {
    const taken = [];
    const ends = new AbortController();
    for await (const item of inbox.messages({ signal: ends.signal, ...options })) {
      taken.push(item.type === "reset" ? "reset" : item.data ?? item.body);
      if (taken.length === count) ends.abort();
    }
    return taken;
  };
  return { id, inbox, take };
}

/** Opens a peer's inbox. */
async function opened(...given) {
  const one = peer(...given);
  const ends = new AbortController();
  for await (const _ of one.inbox.messages({ signal: ends.signal, onopen: () => ends.abort() }));
  seen = [];
  return one;
}

/** What sessionStorage is. */
function storage(entries = {}) {
  const map = new Map(Object.entries(entries));
  return {
    map,
    getItem: (key) => map.get(key) ?? null,
    setItem: (key, value) => map.set(key, value),
    removeItem: (key) => map.delete(key),
  };
}

test("credentials are UTF-8", () => {
  assert.equal(basic("Zoë 👩‍🚀", "pass:wörd"), `Basic ${Buffer.from("Zoë 👩‍🚀:pass:wörd").toString("base64")}`);
});

test("what is sent is received once and in order, through a network that cuts", async () => {
  const [alice, bob] = await Promise.all([opened(), opened("bob & co? 100% #1 é")]);
  const taken = bob.take(20);
  faults = ["cut", "deaf", undefined, "deaf", "cut", "cut", undefined, "deaf"];
  for (let i = 0; i < 20; i++) alice.inbox.send(bob.id, { i });
  assert.deepEqual(await taken, Array.from({ length: 20 }, (_, i) => ({ i })));
  const keys = new Set(seen.filter(({ method }) => method === "POST").map(({ headers }) => headers["idempotency-key"]));
  assert.equal(keys.size, 20);
});

test("a message that was not handled to its end is received again after a reload", async () => {
  const kept = storage();
  const [alice, bob] = [await opened(), await opened(undefined, kept)];
  for (const data of ["one", "two", "three"]) await alice.inbox.send(bob.id, data);
  const ends = new AbortController();
  for await (const item of bob.inbox.messages({ signal: ends.signal })) {
    if (item.data === "two") break; // the page is closed here
  }
  const again = peer(bob.id, kept);
  assert.deepEqual(await again.take(2), ["two", "three"]);
});

test("a cursor of an earlier life, or of another server, is told as a reset", async () => {
  const kept = storage();
  const bob = await opened(undefined, kept);
  await bob.inbox.close();
  const key = `inbox:cursor:${url}:${bob.id}`;
  assert.equal(kept.map.has(key), false);
  for (const cursor of ["rubbish", await cursorOfAnother()]) {
    kept.setItem(key, cursor);
    assert.deepEqual(await peer(bob.id, kept).take(1), ["reset"]);
  }
});

/** A cursor that the server issued, but in another life. */
async function cursorOfAnother() {
  const kept = storage();
  const bob = await opened(undefined, kept);
  const alice = await opened();
  await alice.inbox.send(bob.id, "x");
  await bob.take(1);
  const [cursor] = [...kept.map.values()];
  return cursor;
}

test("Retry-After is kept to, and never answered all at once", async () => {
  const [alice, bob] = await Promise.all([opened(), opened()]);
  const full = { status: 503, headers: { "Retry-After": "1", "Content-Type": "application/problem+json" }, body: '{"code":"inbox-full"}' };
  const limited = { ...full, status: 429, body: '{"code":"rate-limited"}' };
  faults = [full, limited];
  const told = [];
  await alice.inbox.send(bob.id, "later", { onretry: ({ code, retryAfter }) => told.push([code, retryAfter]) });
  assert.deepEqual(told, [["inbox-full", 1000], ["rate-limited", 1000]]);
  const [first, second, third] = seen;
  for (const [earlier, later] of [[first, second], [second, third]]) {
    assert.ok(later.at - earlier.at >= 1000, "it was asked too early");
    assert.equal(later.headers["idempotency-key"], first.headers["idempotency-key"]);
  }
});

test("what trying again cannot help is an error with a code, at once", async () => {
  const [alice, bob] = await Promise.all([opened(), opened()]);
  await assert.rejects(alice.inbox.send(`nobody-${randomKey()}`, 1), { name: "InboxError", code: "no-such-inbox", status: 404 });
  await assert.rejects(alice.inbox.send(bob.id, "x".repeat(70_000)), { code: "too-large", status: 413 });
  const thief = new Inbox({ url, id: bob.id, password: "another" });
  await assert.rejects(thief.messages({ signal: new AbortController().signal }).next(), { code: "unauthorized", status: 401 });
  assert.equal(seen.length, 3);
});

test("a second receiver ends the first, which does not ask again", async () => {
  const bob = await opened();
  const first = bob.take(1);
  while (seen.length < 2) await once(network, "request");
  const second = peer(bob.id).take(1);
  await assert.rejects(first, { code: "replaced", status: 409 });
  const alice = await opened();
  await alice.inbox.send(bob.id, "for the second");
  assert.deepEqual(await second, ["for the second"]);
});

test("patience waits for somebody who is not there yet", async () => {
  const alice = await opened();
  const late = peer();
  const sent = alice.inbox.send(late.id, "are you there?", { patience: 10_000, onretry: () => opened(late.id) });
  await sent;
  assert.deepEqual(await late.take(1), ["are you there?"]);
});

test("a body that is no JSON is told as text, and harms nothing", async () => {
  const bob = await opened();
  const headers = { Authorization: basic("somebody", "x") };
  for (const body of ["not JSON", "null", '{"ok":true}']) {
    await fetch(`${server.url}inbox?to=${encodeURIComponent(bob.id)}`, { method: "POST", headers, body });
  }
  assert.deepEqual(await bob.take(3), ["not JSON", "null", { ok: true }]);
});

test("wake ends a pause", async () => {
  const bob = peer();
  faults = Array(8).fill("cut");
  let pauses = 0;
  const began = performance.now();
  const ends = new AbortController();
  for await (const _ of bob.inbox.messages({
    signal: ends.signal,
    onaway: (error) => {
      assert.ok(error instanceof InboxError && error.code === "unreachable");
      pauses++;
      setImmediate(() => bob.inbox.wake());
    },
    onopen: () => ends.abort(),
  }));
  assert.equal(pauses, 8);
  assert.ok(performance.now() - began < 5000, "it slept");
});

test("a server that never waits does not make it ask without end", async () => {
  const bob = await opened();
  const empty = { status: 204, headers: {} };
  faults = Array(50).fill(empty);
  const ends = new AbortController();
  // Time itself is what is measured here.
  setTimeout(() => ends.abort(), 1500);
  for await (const _ of bob.inbox.messages({ signal: ends.signal }));
  assert.ok(seen.length <= 4, `${seen.length} requests in 1.5 seconds`);
});
