import assert from "node:assert/strict";
import { test } from "node:test";
import { Inbox } from "../../dist/messaging.js";
import { advance, collect, fakeNet, settle } from "../support/net.js";

const open = (options = {}) =>
  new Inbox("https://example.com/inbox", { id: "älice", password: "secret", transports: ["socket"], ...options });

/** Starts a loop over an open socket. */
async function opened(t, opening) {
  const net = fakeNet(t);
  net.withSockets();
  const inbox = open();
  const got = collect(inbox.messages());
  const socket = await net.socket();
  await socket.open(opening);
  socket.heard();
  return { net, inbox, got, socket };
}

test("credentials are in the first frame, never in the URL", async (t) => {
  const net = fakeNet(t);
  net.withSockets();
  const inbox = open();
  const got = collect(inbox.messages());
  const socket = await net.socket();
  assert.equal(socket.url, "wss://example.com/inbox");
  assert.equal(socket.protocol, "inbox.v1");
  assert.deepEqual(socket.heard(), []);
  socket.onopen();
  assert.deepEqual(socket.heard(), [{ type: "open", id: "älice", password: "secret", after: "0" }]);
  assert.equal(inbox.transport, undefined);
  await socket.hears({ type: "opened", cursor: "c0" });
  assert.equal(inbox.transport, "socket");
  await socket.message(["c1", "one"]);
  assert.deepEqual(got.texts, ["one"]);
  assert.deepEqual(socket.heard(), [{ type: "ack", after: "c1" }]);
  assert.equal(net.requests.length, 0);
});

test("an open socket also sends", async (t) => {
  const { net, inbox, socket } = await opened(t);
  let done = false;
  const sent = inbox.send("bob", { a: 1 }).then(() => (done = true));
  const [frame] = socket.heard();
  assert.deepEqual({ ...frame, key: "" }, { type: "send", to: "bob", body: '{"a":1}', key: "" });
  await settle();
  assert.equal(done, false);
  await socket.hears({ type: "sent", key: frame.key });
  await sent;
  assert.equal(net.requests.length, 0);
});

test("a send reports errors, and retries passing ones by request", async (t) => {
  const { net, inbox, socket } = await opened(t);
  const absent = inbox.send("bob", "x");
  const [first] = socket.heard();
  await Promise.all([
    assert.rejects(absent, { code: "no-such-inbox", status: 404 }),
    socket.hears({ type: "error", code: "no-such-inbox", status: 404, key: first.key }),
  ]);
  const full = inbox.send("bob", "x");
  const [second] = socket.heard();
  await socket.hears({ type: "error", code: "inbox-full", status: 503, key: second.key });
  await advance(500);
  const request = await net.request("POST");
  assert.equal(request.headers.get("Idempotency-Key"), second.key);
  await request.answer();
  await full;
});

test("sends of a socket that drops are retried by request, under the same key", async (t) => {
  const { net, inbox, socket } = await opened(t);
  const sent = inbox.send("bob", "x");
  const [frame] = socket.heard();
  await socket.drop();
  await advance(500);
  const request = await net.request("POST");
  assert.equal(request.headers.get("Idempotency-Key"), frame.key);
  assert.equal(request.body, "x");
  await request.answer(200, { "Idempotency-Replayed": "true" });
  await sent;
});

test("sends of a socket that is replaced or closed are retried by request", async (t) => {
  const { net, inbox, got, socket } = await opened(t);
  const sent = inbox.send("bob", "x");
  const [frame] = socket.heard();
  await socket.drop(4409, "replaced");
  assert.equal(got.error.code, "replaced");
  await advance(500);
  const request = await net.request("POST");
  assert.equal(request.headers.get("Idempotency-Key"), frame.key);
  await request.answer();
  await sent;
});

for (const [what, body, frame] of [
  ["bytes", new Uint8Array([255, 0]), { body64: "/wA=" }],
  ["no bytes", new Uint8Array(), { body64: "" }],
  ["a buffer", new Uint8Array([1, 2]).buffer, { body64: "AQI=" }],
  ["a part of a buffer", new Uint16Array([1, 2, 3]).subarray(1, 2), { body64: "AgA=" }],
  ["a long text", "é".repeat(30_000), { body: "é".repeat(30_000) }],
  ["a text that would grow most", "\x01".repeat(60_000), { body64: btoa("\x01".repeat(60_000)) }],
]) {
  test(`${what} can go over a socket`, async (t) => {
    const { net, inbox, socket } = await opened(t, { cursor: "c0", maxBody: 65_536 });
    const sent = inbox.send("bob", body);
    await settle();
    const [{ type, to, key, ...said }] = socket.heard();
    assert.deepEqual([type, to, said], ["send", "bob", frame]);
    await socket.hears({ type: "sent", key });
    await sent;
    assert.equal(await net.open(), 0);
  });
}

for (const [opening, fits, not] of [[{ cursor: "c0" }, 16_000, 16_001], [{ cursor: "c0", maxBody: 100 }, 100, 101]]) {
  for (const make of [(n) => "x".repeat(n), (n) => new Uint8Array(n), (n) => "é".repeat(n / 2) + "x".repeat(n % 2)]) {
    test(`a body above the socket's limit is sent by request: ${not} of ${make}`, async (t) => {
      const { net, inbox, socket } = await opened(t, opening);
      void inbox.send("bob", make(fits));
      await settle();
      assert.equal(socket.heard().length, 1);
      void inbox.send("carol", make(not));
      await net.request("POST");
      assert.deepEqual(socket.heard(), []);
    });
  }
}

test("an abort does not wait for the answer to a send", async (t) => {
  const { inbox } = await opened(t);
  const ends = new AbortController();
  const sent = inbox.send("bob", "x", { signal: ends.signal });
  ends.abort();
  await assert.rejects(sent, { name: "AbortError" });
});

test("a silent socket is pinged, and given up without an answer", async (t) => {
  const { net, inbox, socket } = await opened(t);
  const away = [];
  inbox.onaway = ({ code }) => away.push(code);
  await advance(17_900);
  assert.deepEqual(socket.heard(), []);
  await advance(200);
  assert.deepEqual(socket.heard(), [{ type: "send", to: "", body: "", key: "ping" }]);
  await socket.hears({ type: "error", code: "bad-recipient", status: 400, key: "ping" });
  await advance(18_100);
  assert.equal(socket.heard().length, 1);
  await advance(9800);
  assert.equal(socket.closed, undefined);
  await advance(200);
  assert.equal(socket.closed, true);
  assert.deepEqual(away, ["timeout"]);
  await advance(500);
  const next = await net.socket();
  next.onopen();
  assert.deepEqual(next.heard(), [{ type: "open", id: "älice", password: "secret", after: "c0" }]);
});

test("an unanswered send ends the socket", async (t) => {
  const { net, inbox, socket } = await opened(t);
  const sent = inbox.send("bob", "x");
  await advance(10_100);
  assert.equal(socket.closed, true);
  await advance(500);
  await (await net.request("POST")).answer();
  await sent;
});

test("a send that is not answered while other frames arrive is retried by request", async (t) => {
  const { net, inbox, socket } = await opened(t);
  const sent = inbox.send("bob", "x");
  const [frame] = socket.heard();
  for (let second = 0; second < 10; second++) {
    assert.equal(await net.open("POST"), 0);
    await socket.message([`c${second}`, "talk"]);
    await advance(1000);
  }
  await advance(500);
  const request = await net.request("POST");
  assert.equal(request.headers.get("Idempotency-Key"), frame.key);
  await request.answer();
  await sent;
  assert.equal(socket.closed, undefined);
});

test("duplicates of unacknowledged messages over the next socket are dropped", async (t) => {
  const net = fakeNet(t);
  net.withSockets();
  let go;
  const held = new Promise((resolve) => (go = resolve));
  const got = collect(open().messages(), () => held);
  const first = await net.socket();
  await first.open();
  await first.message(["c1", "one"]);
  await first.message(["c2", "two"]);
  await first.drop();
  await advance(500);
  const second = await net.socket();
  second.onopen();
  assert.equal(second.heard()[0].after, "c0");
  await second.hears({ type: "opened", cursor: "c0" });
  await second.message(["c1", "one"]);
  go();
  await settle();
  await second.message(["c2", "two"]);
  await second.message(["c3", "three"]);
  assert.deepEqual(got.texts, ["one", "two", "three"]);
  assert.equal(second.heard().at(-1).after, "c3");
});

test("a reset is reported, and the new life is received", async (t) => {
  const net = fakeNet(t);
  net.withSockets();
  let resets = 0;
  const got = collect(open().messages({ onreset: () => resets++ }));
  const first = await net.socket();
  await first.open({ cursor: "a0" });
  await first.message(["a1", "old"]);
  await first.drop(1006);
  await advance(500);
  const second = await net.socket();
  await second.open({ cursor: "b0", reset: true });
  assert.equal(resets, 1);
  await second.drop();
  await advance(1000);
  const third = await net.socket();
  third.onopen();
  assert.equal(third.heard()[0].after, "b0");
  await third.hears({ type: "opened", cursor: "b0" });
  await third.message(["b1", "new"]);
  assert.equal(resets, 1);
  assert.deepEqual(got.texts, ["old", "new"]);
});

for (const [code, expected, status] of [
  [4401, "unauthorized", 401],
  [4409, "replaced", 409],
  [4410, "closed", 409],
]) {
  test(`close code ${code} ends the loop, whatever its reason`, async (t) => {
    const { net, got, socket } = await opened(t);
    await socket.drop(code, "draining");
    assert.equal(got.error.code, expected);
    assert.equal(got.error.status, status);
    await advance(60_000, 1000);
    assert.equal(net.sockets.filter(({ taken }) => !taken).length, 0);
  });
}

for (const [code, reason] of [[1012, "draining"], [1006, ""], [1001, ""], [4408, "no open frame in time"], [4413, "a message is larger than this server accepts"], [1013, "store-unavailable"], [1011, "closed"], [4999, "unauthorized"]]) {
  test(`close code ${code} does not end the loop`, async (t) => {
    const { net, got, socket } = await opened(t);
    await socket.drop(code, reason);
    await advance(500);
    assert.equal(got.done, false);
    await (await net.socket()).open();
  });
}

for (const close of [1002, 1003, 1007, 4400]) {
  test(`a request finds out the reason of close code ${close}`, async (t) => {
    const { net, got, socket } = await opened(t);
    await socket.drop(close, "closed");
    const request = await net.request("GET");
    assert.deepEqual(request.query, { after: "c0", limit: "0" });
    await request.problem(400, "bad-credentials");
    assert.equal(got.error.code, "bad-credentials");
    assert.equal(got.error.status, 400);
  });

  test(`close code ${close} is retried if a request succeeds`, async (t) => {
    const { net, got, socket } = await opened(t);
    await socket.drop(close, "");
    await (await net.request("GET")).nothing();
    await advance(500);
    assert.equal(got.done, false);
    await (await net.socket()).open();
  });
}

test("a cursor that the server does not know restarts from the beginning", async (t) => {
  const { net, got, socket } = await opened(t);
  await socket.drop(4400, "");
  await (await net.request("GET")).problem(400, "bad-cursor");
  const next = await net.socket();
  next.onopen();
  assert.equal(next.heard()[0].after, "0");
  assert.equal(got.done, false);
});

for (const data of ["<html>", "null", '{"type":', new Blob(["x"])]) {
  test(`an invalid frame ends the socket: ${data}`, async (t) => {
    const { net, inbox, got, socket } = await opened(t);
    const away = [];
    inbox.onaway = ({ code }) => away.push(code);
    socket.onmessage({ data });
    await settle();
    assert.equal(socket.closed, true);
    assert.deepEqual(away, ["unreachable"]);
    await advance(500);
    const next = await net.socket();
    await next.open();
    await next.message(["c1", "one"]);
    assert.deepEqual(got.texts, ["one"]);
  });
}

test("an abort closes the socket", async (t) => {
  const net = fakeNet(t);
  net.withSockets();
  const ends = new AbortController();
  const inbox = open();
  const got = collect(inbox.messages({ signal: ends.signal }));
  const socket = await net.socket();
  await socket.open();
  ends.abort();
  await got.ended;
  await settle();
  assert.equal(socket.closed, true);
  assert.equal(inbox.transport, undefined);
  // Late frames of an old socket are ignored.
  await socket.message(["c1", "one"]);
  await socket.drop();
  await advance(5000);
  assert.equal(net.sockets.length, 1);
});
