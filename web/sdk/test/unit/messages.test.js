/** Loops over messages, by long polls: when a message is acknowledged, and which loop gets it. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Inbox, InboxError } from "../../dist/messaging.js";
import { advance, collect, fakeNet, settle } from "../support/net.js";

const open = (options = {}) =>
  new Inbox("https://example.com/inbox", { id: "alice", password: "secret", transports: ["poll"], ...options });

/** A promise that a test resolves. */
function gate() {
  let go;
  const opened = new Promise((resolve) => (go = resolve));
  return { opened, go };
}

test("no request is made before the loop begins", async (t) => {
  const net = fakeNet(t);
  let read = 0;
  const storage = { getItem: () => void read++, setItem: () => read++, removeItem: () => read++ };
  const inbox = open({ storage, transports: undefined });
  net.withSockets();
  inbox.messages();
  await advance(1000);
  assert.equal(net.requests.length + net.sockets.length + read, 0);
  assert.equal(inbox.transport, undefined);
});

test("a message is acknowledged when the loop asks for the next one", async (t) => {
  const net = fakeNet(t);
  const inbox = open();
  const { opened, go } = gate();
  const ends = new AbortController();
  const got = collect(inbox.messages({ signal: ends.signal }), () => opened);
  const first = await net.request();
  assert.deepEqual(first.query, { after: "0", wait: "0" });
  assert.equal(first.headers.get("Accept"), "application/json");
  await first.messages(["c1", "one"], ["c2", "two"]);
  assert.deepEqual(got.texts, ["one"]);
  assert.equal(await net.open(), 0);
  go();
  const second = await net.request();
  assert.deepEqual(second.query, { after: "c2", wait: "25" });
  assert.deepEqual(got.texts, ["one", "two"]);
  await second.messages(["c3", "three"]);
  assert.equal((await net.request()).query.after, "c3");
  ends.abort();
  await got.ended;
  assert.equal(got.error, undefined);
  // The aborted request may not have arrived.
  const told = await net.request();
  assert.deepEqual(told.query, { after: "c3", limit: "0" });
  await told.nothing("c3");
  assert.equal(await net.open(), 0);
});

test("a message has the body that was sent", async (t) => {
  const net = fakeNet(t);
  const got = collect(open().messages());
  await (await net.request()).messages(
    ["c1", '{"a":1}'], ["c2", "no JSON"], { cursor: "c3", body64: "AP8H" }, ["c4", ""], ["c5", "null"],
    { cursor: "c6", from: "日本 🦊", body: "5" },
  );
  const seen = got.items.map(({ from, text, data, bytes, cursor }) => [cursor, from, text, data, [...bytes]]);
  assert.deepEqual(seen, [
    ["c1", "bob", '{"a":1}', { a: 1 }, [...Buffer.from('{"a":1}')]],
    ["c2", "bob", "no JSON", undefined, [...Buffer.from("no JSON")]],
    ["c3", "bob", undefined, undefined, [0, 255, 7]],
    ["c4", "bob", "", undefined, []],
    ["c5", "bob", "null", null, [...Buffer.from("null")]],
    ["c6", "日本 🦊", "5", 5, [53]],
  ]);
  assert.equal(got.items[0].time.toISOString(), "2026-01-02T03:04:05.678Z");
});

test("the next loop receives an unfinished message again", async (t) => {
  const net = fakeNet(t);
  const inbox = open();
  for await (const { text } of (() => {
    void net.request().then((request) => request.messages(["c1", "one"], ["c2", "two"], ["c3", "three"]));
    return inbox.messages();
  })()) {
    if (text === "two") break;
  }
  // The handled message is acknowledged nevertheless.
  const told = await net.request();
  assert.deepEqual(told.query, { after: "c1", limit: "0" });
  await told.nothing("c1");
  const got = collect(inbox.messages());
  const again = await net.request();
  assert.equal(again.query.after, "c1");
  await again.messages(["c2", "two"], ["c3", "three"]);
  assert.deepEqual(got.texts, ["two", "three"]);
});

test("an error in the loop's body leaves its message in the inbox", async (t) => {
  const net = fakeNet(t);
  const inbox = open();
  const failed = collect(inbox.messages(), () => {
    throw new Error("no");
  });
  await (await net.request()).messages(["c1", "one"]);
  assert.equal(failed.error.message, "no");
  const got = collect(inbox.messages());
  const again = await net.request();
  assert.equal(again.query.after, "0");
  await again.messages(["c1", "one"]);
  assert.deepEqual(got.texts, ["one"]);
});

test("duplicates are dropped", async (t) => {
  const net = fakeNet(t);
  const got = collect(open().messages());
  await (await net.request()).messages(["c1", "one"], ["c2", "two"]);
  await (await net.request()).messages(["c2", "two"], ["c3", "three"]);
  await (await net.request()).messages(["c3", "three"]);
  assert.deepEqual(got.texts, ["one", "two", "three"]);
});

test("while a loop is busy, the inbox polls once a second, and other loops get their messages", async (t) => {
  const net = fakeNet(t);
  const inbox = open();
  const { opened, go } = gate();
  const slow = collect(inbox.messages({ match: ({ text }) => text === "slow" }), () => opened);
  const fast = collect(inbox.messages());
  await (await net.request()).messages(["c1", "slow"], ["c2", "fast"]);
  for (let second = 0; second < 5; second++) {
    assert.equal(await net.open(), 0);
    await advance(1000);
    const request = await net.request();
    assert.equal(request.query.after, "0");
    await request.messages(["c1", "slow"], ["c2", "fast"], ...(second === 2 ? [["c3", "faster"]] : []));
  }
  assert.deepEqual(fast.texts, ["fast", "faster"]);
  go();
  assert.equal((await net.request()).query.after, "c3");
  assert.deepEqual(slow.texts, ["slow"]);
});

test("an empty inbox is polled again immediately, but not in a busy loop", async (t) => {
  const net = fakeNet(t);
  collect(open().messages());
  await (await net.request()).nothing("c7");
  const waiting = await net.request();
  assert.deepEqual(waiting.query, { after: "c7", wait: "25" });
  await advance(25_000);
  await waiting.nothing("c7");
  await (await net.request()).nothing("c7"); // too soon
  assert.equal(await net.open(), 0);
  await advance(1000);
  assert.equal(await net.open(), 1);
});

test("a poll that outlives its wait is aborted", async (t) => {
  const net = fakeNet(t);
  const inbox = open();
  const away = [];
  inbox.onaway = ({ code }) => away.push(code);
  collect(inbox.messages());
  await (await net.request()).nothing();
  const dead = await net.request();
  await advance(34_000, 500);
  assert.equal(dead.aborted, false);
  await advance(1000);
  assert.equal(dead.aborted, true);
  assert.deepEqual(away, ["timeout"]);
  await advance(1000);
  assert.equal((await net.request()).query.wait, "0");
});

test("a message goes to the first loop that selects it, and an unclaimed one is kept", async (t) => {
  const net = fakeNet(t);
  const inbox = open();
  const numbers = collect(inbox.messages({ match: ({ data }) => typeof data === "number" }));
  await (await net.request()).messages(["c1", "1"], ["c2", "kept"], ["c3", "2"]);
  assert.equal((await net.request()).query.after, "c3");
  const all = collect(inbox.messages());
  await settle();
  assert.deepEqual(numbers.texts, ["1", "2"]);
  assert.deepEqual(all.texts, ["kept"]);
});

test("the last 100 unclaimed messages are kept", async (t) => {
  const net = fakeNet(t);
  const inbox = open();
  collect(inbox.messages({ match: () => false }));
  await (await net.request()).messages(...Array.from({ length: 130 }, (_, i) => [`c${i}`, `${i}`]));
  const all = collect(inbox.messages());
  await settle();
  assert.equal(all.texts.length, 100);
  assert.equal(all.texts[0], "30");
});

test("the queue of a loop that ends goes to another loop", async (t) => {
  const net = fakeNet(t);
  const inbox = open();
  const { opened, go } = gate();
  const first = collect(inbox.messages({ match: ({ text }) => text !== "not mine" }), async () => {
    await opened;
    throw new Error("broken");
  });
  const second = collect(inbox.messages());
  await (await net.request()).messages(["c1", "one"], ["c2", "two"]);
  go();
  await settle();
  assert.equal(first.error.message, "broken");
  assert.deepEqual(second.texts, ["one", "two"]);
  assert.equal((await net.request()).query.after, "c2");
});

for (const [status, code] of [[409, "replaced"], [409, "closed"], [401, "unauthorized"], [403, "forbidden-origin"], [400, "bad-credentials"], [404, "http-404"]]) {
  test(`${code} ends all loops with an error, and the requests stop`, async (t) => {
    const net = fakeNet(t);
    const inbox = open();
    const loops = [collect(inbox.messages({ match: () => false })), collect(inbox.messages())];
    await (await net.request()).nothing();
    const request = await net.request();
    if (code.startsWith("http")) await request.answer(status, {}, "<html>");
    else await request.problem(status, code);
    for (const { error } of loops) {
      assert.ok(error instanceof InboxError);
      assert.equal(error.code, code);
      assert.equal(error.status, status);
    }
    assert.equal(inbox.transport, undefined);
    net.fire("online");
    await advance(60_000);
    assert.equal(await net.open(), 0);
    // A new loop can start nevertheless. After a close it opens another life.
    collect(inbox.messages());
    assert.equal((await net.request()).query.after, code === "closed" ? "0" : "c0");
  });
}

test("an inbox that its own late request replaced continues, once", async (t) => {
  const net = fakeNet(t);
  const got = collect(open().messages());
  await (await net.request()).nothing();
  const given = await net.request();
  net.fire("visibilitychange");
  await settle();
  assert.ok(given.aborted);
  await (await net.request()).problem(409, "replaced");
  await (await net.request()).nothing();
  assert.equal(got.done, false);
  await (await net.request()).problem(409, "replaced");
  assert.equal(got.error.code, "replaced");
});

test("a loop whose match throws ends, and the others continue", async (t) => {
  const net = fakeNet(t);
  const inbox = open();
  const broken = collect(inbox.messages({ match: ({ data }) => data.to.me }));
  const sound = collect(inbox.messages());
  await (await net.request()).messages(["c1", '{"to":{"me":true}}'], ["c2", "null"], ["c3", '{"to":{"me":true}}']);
  assert.equal((await net.request()).query.after, "c3");
  assert.deepEqual(broken.texts, ['{"to":{"me":true}}']);
  assert.ok(broken.error instanceof TypeError);
  assert.deepEqual(sound.texts, ["null", '{"to":{"me":true}}']);
});

test("a loop handles the received messages before it throws the error", async (t) => {
  const net = fakeNet(t);
  const { opened, go } = gate();
  const got = collect(open().messages(), () => opened);
  await (await net.request()).messages(["c1", "one"], ["c2", "two"]);
  await advance(1000);
  await (await net.request()).problem(409, "replaced");
  assert.equal(got.error, undefined);
  go();
  await settle();
  assert.deepEqual(got.texts, ["one", "two"]);
  assert.equal(got.error.code, "replaced");
});

test("a reset calls onreset of each loop, and the new life is received from its beginning", async (t) => {
  const net = fakeNet(t);
  const inbox = open();
  let resets = 0;
  const onreset = () => resets++;
  const got = collect(inbox.messages({ onreset }));
  collect(inbox.messages({ match: () => false, onreset }));
  await (await net.request()).messages(["a1", "old"]);
  const request = await net.request();
  assert.equal(request.query.after, "a1");
  await request.answer(200, { "Content-Type": "application/json", "Inbox-Reset": "true" }, JSON.stringify({ cursor: "b2", reset: true, messages: [
    { cursor: "b1", from: "x", time: "", body: "new" }, { cursor: "b2", from: "x", time: "", body: "newer" }] }));
  assert.equal(resets, 2);
  assert.deepEqual(got.texts, ["old", "new", "newer"]);
  const next = await net.request();
  assert.equal(next.query.after, "b2");
  await next.answer(204, { "Inbox-Cursor": "d0", "Inbox-Reset": "true" });
  assert.equal(resets, 4);
  await advance(1000);
  assert.equal((await net.request()).query.after, "d0");
});

test("a cursor that the server does not know counts as a reset", async (t) => {
  const net = fakeNet(t);
  const storage = new Map([["inbox https://example.com/inbox alice", "stale"]]);
  let resets = 0;
  collect(open({ storage: asStorage(storage) }).messages({ onreset: () => resets++ }));
  const request = await net.request();
  assert.equal(request.query.after, "stale");
  await request.problem(400, "bad-cursor");
  assert.equal(resets, 1);
  assert.equal((await net.request()).query.after, "0");
});

test("bad-cursor for no cursor is an error, not a loop", async (t) => {
  const net = fakeNet(t);
  const got = collect(open().messages());
  await (await net.request()).problem(400, "bad-cursor");
  assert.equal(got.error.code, "bad-cursor");
});

test("storage keeps the cursor over a reload", async (t) => {
  const net = fakeNet(t);
  const storage = new Map();
  const before = open({ storage: asStorage(storage) });
  const ends = new AbortController();
  const got = collect(before.messages({ signal: ends.signal }));
  await (await net.request()).messages(["c1", "one"]);
  await net.request();
  ends.abort();
  await got.ended;
  const after = open({ storage: asStorage(storage) });
  collect(after.messages());
  const request = await net.request("GET", ({ query }) => query.wait === "0");
  assert.equal(request.query.after, "c1");
  void after.close();
  await request.nothing("c1");
  await (await net.request("DELETE")).answer(204);
  await advance(1000);
  assert.equal(storage.size, 0);
});

test("full storage does not disturb receiving", async (t) => {
  const net = fakeNet(t);
  const storage = { getItem: () => null, setItem: () => { throw new Error("full"); }, removeItem: () => {} };
  const got = collect(open({ storage }).messages());
  await (await net.request()).messages(["c1", "one"]);
  assert.equal((await net.request()).query.after, "c1");
  assert.deepEqual(got.texts, ["one"]);
  assert.equal(got.error, undefined);
});

test("onopen and onaway report the state of the connection", async (t) => {
  const net = fakeNet(t);
  const inbox = open();
  const told = [];
  inbox.onopen = (transport) => told.push(transport, inbox.transport);
  inbox.onaway = (error) => told.push(error.code, inbox.transport);
  collect(inbox.messages());
  await (await net.request()).nothing();
  await (await net.request()).fail();
  await advance(500);
  await (await net.request()).problem(503, "draining", { "Retry-After": "1" });
  await advance(2000);
  await (await net.request()).nothing();
  assert.deepEqual(told, ["poll", "poll", "unreachable", undefined, "draining", undefined, "poll", "poll"]);
});

test("pauses grow, and end when the network is back", async (t) => {
  const net = fakeNet(t);
  collect(open().messages());
  const gaps = [];
  for (let i = 0, last = Date.now(); i < 8; i++) {
    while (!(await net.open())) await advance(100);
    gaps.push(Date.now() - last);
    last = Date.now();
    await (await net.request()).fail();
  }
  assert.deepEqual(gaps.map((gap) => Math.round(gap / 100) / 10), [0, 0.3, 0.5, 0.9, 1.8, 3.6, 7.2, 11.3]);
  assert.equal(await net.open(), 0);
  net.fire("online");
  assert.equal(await net.open(), 1);
});

test("a Retry-After is waited for, even if the page becomes visible", async (t) => {
  const net = fakeNet(t);
  collect(open().messages());
  await (await net.request()).problem(503, "store-unavailable", { "Retry-After": "5" });
  net.fire("visibilitychange");
  net.fire("online");
  await advance(4900);
  assert.equal(await net.open(), 0);
  await advance(1000);
  assert.equal(await net.open(), 1);
});

test("a Retry-After of years is capped", async (t) => {
  const net = fakeNet(t);
  collect(open().messages());
  await (await net.request()).problem(503, "draining", { "Retry-After": "99999999999" });
  await advance(290_000, 5000);
  assert.equal(await net.open(), 0);
  await advance(100_000, 5000);
  assert.notEqual(await net.open(), 0);
});

test("a waiting poll is restarted when the network changes or the page becomes visible", async (t) => {
  const net = fakeNet(t);
  const inbox = open();
  let away = 0;
  inbox.onaway = () => away++;
  collect(inbox.messages());
  await (await net.request()).nothing();
  for (const type of ["online", "visibilitychange", "offline"]) {
    const waiting = await net.request();
    net.fire(type);
    await settle();
    assert.ok(waiting.aborted, type);
  }
  assert.equal(await net.open(), 1);
  assert.equal(away, 0);
});

test("an abort before the loop begins prevents any request", async (t) => {
  const net = fakeNet(t);
  const got = collect(open().messages({ signal: AbortSignal.abort() }));
  await got.ended;
  assert.equal(got.error, undefined);
  await advance(1000);
  assert.equal(net.requests.length, 0);
});

test("a loop can follow another one immediately", async (t) => {
  const net = fakeNet(t);
  const inbox = open();
  for (let i = 0; i < 3; i++) {
    const ends = new AbortController();
    const got = collect(inbox.messages({ signal: ends.signal }));
    const request = await net.request();
    await request.messages([`c${i}`, `${i}`]);
    assert.deepEqual(got.texts, [`${i}`]);
    ends.abort();
    await got.ended;
    for (const left of net.requests) left.taken = true;
  }
});

function asStorage(map) {
  return {
    getItem: (key) => map.get(key) ?? null,
    setItem: (key, value) => map.set(key, value),
    removeItem: (key) => map.delete(key),
  };
}
