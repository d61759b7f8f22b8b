import assert from "node:assert/strict";
import { test } from "node:test";
import { Inbox } from "../../dist/messaging.js";
import { advance, collect, fakeNet, settle } from "../support/net.js";

const open = (transports) =>
  new Inbox("https://example.com/inbox", { id: "alice", password: "secret", ...(transports && { transports }) });

/** Collects the errors that an inbox reports. */
function hears(inbox) {
  const errors = [];
  inbox.onaway = (error) => errors.push([error.code, error.status, error.retryAfter]);
  return errors;
}

test("a rate-limited poll waits as long as the server asks, and continues", async (t) => {
  const net = fakeNet(t);
  const inbox = open(["poll"]);
  const away = hears(inbox);
  const got = collect(inbox.messages());
  await (await net.request()).messages(["c1", "one"]);
  await settle();
  const limited = await net.request();
  assert.equal(limited.query.after, "c1");
  await limited.problem(429, "rate-limited", { "Retry-After": "3" });
  await settle();
  assert.deepEqual(away, [["rate-limited", 429, 3000]]);
  await advance(3000);
  assert.equal(await net.open(), 0);
  await advance(500);
  const again = await net.request();
  assert.equal(again.query.after, "c1", "the limited poll has acknowledged nothing");
  await again.messages(["c1", "one"], ["c2", "two"]);
  assert.deepEqual(got.texts, ["one", "two"]);
});

for (const [what, retryAfter, wait] of [["for as long as it is asked to", { "Retry-After": "4" }, 4000], ["a second if no time is given", {}, 1000]]) {
  test(`a rate-limited send waits ${what}, and keeps its key`, async (t) => {
    const net = fakeNet(t);
    const sent = open().send("bob", "x");
    const first = await net.request("POST");
    await first.problem(429, "rate-limited", retryAfter);
    await advance(wait);
    assert.equal(await net.open(), 0);
    await advance(500);
    const again = await net.request("POST");
    assert.equal(again.headers.get("Idempotency-Key"), first.headers.get("Idempotency-Key"));
    await again.answer();
    await sent;
  });
}

test("a 429 from a proxy is waited for too", async (t) => {
  const net = fakeNet(t);
  const sent = open().send("bob", "x");
  await (await net.request("POST")).answer(429, {}, "[]");
  await advance(1000);
  assert.equal(await net.open(), 0);
  await advance(500);
  await (await net.request("POST")).answer();
  await sent;
});

test("an error frame for a rate-limited send states how long to wait", async (t) => {
  const net = fakeNet(t);
  net.withSockets();
  const inbox = open(["socket"]);
  const got = collect(inbox.messages());
  const socket = await net.socket();
  await socket.open();
  socket.heard();
  const sent = inbox.send("bob", "x");
  const [{ key }] = socket.heard();
  await socket.hears({ type: "error", code: "rate-limited", status: 429, retryAfter: 2, key });
  await advance(2000);
  assert.equal(await net.open(), 0);
  await advance(500);
  const again = await net.request("POST");
  assert.equal(again.headers.get("Idempotency-Key"), key);
  await again.answer();
  await sent;
  await socket.message(["c1", "one"]); // the socket lives
  assert.deepEqual(got.texts, ["one"]);
});

test("a socket that is closed as rate-limited reopens after a second, before any other transport", async (t) => {
  const net = fakeNet(t);
  net.withSockets();
  const inbox = open();
  const away = hears(inbox);
  const got = collect(inbox.messages());
  const socket = await net.socket();
  await socket.open();
  const sent = inbox.send("bob", "x");
  await settle();
  const key = socket.heard().at(-1).key;
  await socket.drop(4429, "rate-limited");
  await advance(900);
  assert.deepEqual(away, [["rate-limited", 429, 1000]]);
  assert.equal(await net.open("GET"), 0);
  await advance(600);
  const again = await net.socket();
  await again.open({ cursor: "c0" });
  await again.message(["c1", "one"]);
  assert.deepEqual(got.texts, ["one"]);
  // The unanswered send is repeated with its key.
  const request = await net.request("POST");
  assert.equal(request.headers.get("Idempotency-Key"), key);
  await request.answer();
  await sent;
});

test("a request finds out how long a rate-limited handshake has to wait", async (t) => {
  const net = fakeNet(t);
  net.withSockets();
  const inbox = open(["socket"]);
  const away = hears(inbox);
  collect(inbox.messages());
  await (await net.socket()).drop(4429, "rate-limited");
  const asks = await net.request("GET");
  assert.equal(asks.query.limit, "0");
  await asks.problem(429, "rate-limited", { "Retry-After": "6" });
  await settle();
  assert.deepEqual(away, [["rate-limited", 429, 6000]]);
  await advance(6000);
  assert.equal(net.sockets.length, 1);
  await advance(500);
  assert.equal(net.sockets.length, 2);
});
