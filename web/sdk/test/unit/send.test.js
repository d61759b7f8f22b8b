import assert from "node:assert/strict";
import { test } from "node:test";
import { Inbox, InboxError } from "../../dist/messaging.js";
import { advance, fakeNet, settle } from "../support/net.js";

const open = (url = "https://example.com/inbox") => new Inbox(url, { id: "alice", password: "secret" });

/** Watches how a promise settles, without waiting for it. */
function watch(promise) {
  const watched = { state: "pending", error: undefined };
  promise.then(
    () => (watched.state = "done"),
    (error) => Object.assign(watched, { state: "failed", error }),
  );
  return watched;
}

/** The body of a request, as text or bytes. */
const bodyOf = async ({ body }) => (body instanceof Blob ? new Uint8Array(await body.arrayBuffer()) : body);

test("a send is one POST without credentials in its URL", async (t) => {
  const net = fakeNet(t);
  const sent = watch(open("https://example.com/inbox?x=1").send("böb & Co #1", { type: "offer" }));
  const request = await net.request("POST");
  assert.equal(request.url.href, "https://example.com/inbox?x=1&to=b%C3%B6b+%26+Co+%231");
  assert.equal(request.body, '{"type":"offer"}');
  assert.equal(request.headers.get("Authorization"), `Basic ${btoa("alice:secret")}`);
  assert.match(request.headers.get("Idempotency-Key"), /^[0-9a-z]{26}$/);
  assert.equal(request.init.credentials, "omit");
  assert.equal(request.init.cache, "no-store");
  assert.equal(request.init.redirect, "manual");
  assert.equal(sent.state, "pending");
  await request.answer();
  assert.equal(sent.state, "done");
  assert.equal(await net.open(), 0);
});

test("ids and passwords are sent as UTF-8", async (t) => {
  const net = fakeNet(t);
  void new Inbox("https://example.com/inbox", { id: "ålice 🦊 ﷽", password: "p:ä:" }).send("日本", "");
  const request = await net.request("POST");
  const basic = Buffer.from(request.headers.get("Authorization").slice(6), "base64").toString();
  assert.equal(basic, "ålice 🦊 ﷽:p:ä:");
  assert.equal(request.query.to, "日本");
  await request.answer();
});

test("credentials in the URL are removed, and a colon in an id is an error", async (t) => {
  const net = fakeNet(t);
  void open("https://eve:pw@example.com/inbox#hash").send("bob", "x");
  const request = await net.request("POST");
  assert.equal(request.url.href, "https://example.com/inbox?to=bob");
  assert.equal(request.headers.get("Authorization"), `Basic ${btoa("alice:secret")}`);
  await request.answer();
  assert.throws(() => new Inbox("https://example.com/inbox", { id: "a:b", password: "c" }), { code: "bad-credentials" });
});

test("strings and bytes are sent as they are, everything else as JSON", async (t) => {
  const net = fakeNet(t);
  const inbox = open();
  const bytes = new Uint8Array([0, 255, 7]);
  for (const [data, body] of [
    ["text", "text"], ["", ""], [bytes, bytes], [bytes.buffer, bytes], [new DataView(bytes.buffer, 1), bytes.slice(1)],
    [{ a: [1] }, '{"a":[1]}'], [undefined ?? null, "null"], [5, "5"], [["x"], '["x"]'],
  ]) {
    const sent = inbox.send("bob", data);
    const request = await net.request("POST");
    assert.deepEqual(await bodyOf(request), body);
    await request.answer();
    await sent;
  }
  for (const data of [undefined, () => {}, Symbol("x")]) await assert.rejects(inbox.send("bob", data), TypeError);
  assert.equal(await net.open(), 0);
});

test("bytes are copied, so that later changes are not sent", async (t) => {
  const net = fakeNet(t);
  const inbox = open();
  const bytes = new Uint8Array([1]);
  void inbox.send("bob", bytes);
  bytes[0] = 2;
  void inbox.send("bob", bytes);
  bytes[0] = 3;
  const first = await net.request("POST");
  assert.deepEqual(await bodyOf(first), new Uint8Array([1]));
  await first.fail();
  await advance(500);
  const again = await net.request("POST");
  assert.deepEqual(await bodyOf(again), new Uint8Array([1]));
  await again.answer();
  const second = await net.request("POST");
  assert.deepEqual(await bodyOf(second), new Uint8Array([2]));
  await second.answer();
});

test("a send is retried under the same key for 30 seconds", async (t) => {
  const net = fakeNet(t);
  const sent = watch(open().send("bob", "x"));
  const keys = new Set();
  let tries = 0;
  for (let second = 0; second < 29; second++) {
    while (await net.open()) {
      const request = await net.request("POST");
      keys.add(request.headers.get("Idempotency-Key"));
      tries++;
      await request.fail();
    }
    await advance(1000);
    assert.equal(sent.state, "pending");
  }
  await advance(1500);
  while (await net.open()) await (await net.request("POST")).fail();
  assert.equal(sent.state, "failed");
  assert.ok(sent.error instanceof InboxError);
  assert.equal(sent.error.code, "unreachable");
  assert.equal(sent.error.status, 0);
  assert.equal(sent.error.cause.message, "fetch failed");
  assert.equal(keys.size, 1);
  assert.ok(tries >= 6 && tries <= 12, `${tries} tries`);
  await advance(60_000);
  assert.equal(await net.open(), 0);
});

test("every send has a separate key", async (t) => {
  const net = fakeNet(t);
  const inbox = open();
  const keys = new Set();
  for (const to of ["a", "b", "c"]) {
    void inbox.send(to, "same");
    const request = await net.request("POST");
    keys.add(request.headers.get("Idempotency-Key"));
    await request.answer();
  }
  assert.equal(keys.size, 3);
});

test("a send without an answer is retried", async (t) => {
  const net = fakeNet(t);
  const sent = watch(open().send("bob", "x"));
  const first = await net.request("POST");
  await advance(10_000);
  assert.ok(first.aborted);
  await advance(1000);
  await (await net.request("POST")).answer();
  assert.equal(sent.state, "done");
});

for (const [name, value] of [["seconds", "3"], ["a date", "date"]]) {
  test(`Retry-After in ${name} is waited for in full`, async (t) => {
    const net = fakeNet(t);
    const sent = watch(open().send("bob", "x"));
    const header = value === "date" ? new Date(Date.now() + 3000).toUTCString() : value;
    await (await net.request("POST")).problem(503, "inbox-full", { "Retry-After": header });
    net.fire("online");
    await advance(2900);
    assert.equal(await net.open(), 0);
    await advance(1000);
    await (await net.request("POST")).answer();
    assert.equal(sent.state, "done");
  });
}

test("a Retry-After beyond the 30 seconds ends the send", async (t) => {
  const net = fakeNet(t);
  const sent = watch(open().send("bob", "x"));
  await (await net.request("POST")).problem(503, "server-full", { "Retry-After": "31" });
  assert.equal(sent.error.code, "server-full");
  assert.equal(sent.error.status, 503);
  assert.equal(sent.error.retryAfter, 31_000);
  assert.equal(sent.error.message, "words");
});

test("a send that keeps being refused fails just before its time is up, with the reason", async (t) => {
  const net = fakeNet(t);
  for (let round = 0; round < 10; round++) { // pauses are random
    const begun = Date.now();
    const sent = watch(open().send(`bob ${round}`, "x"));
    for (let tick = 0; sent.state === "pending" && tick < 400; tick++) {
      while (await net.open()) await (await net.request("POST")).problem(503, "inbox-full", { "Retry-After": "1" });
      await advance(100);
    }
    assert.equal(sent.error?.code, "inbox-full");
    assert.ok(Date.now() - begun <= 30_000, `${Date.now() - begun} ms`);
  }
});

for (const [status, code] of [[400, "bad-recipient"], [401, "unauthorized"], [403, "forbidden-origin"], [404, "no-such-inbox"], [413, "too-large"]]) {
  test(`${code} is not retried`, async (t) => {
    const net = fakeNet(t);
    const sent = watch(open().send("bob", "x"));
    await (await net.request("POST")).problem(status, code);
    assert.equal(sent.error.code, code);
    assert.equal(sent.error.passes, false);
    await advance(40_000);
    assert.equal(await net.open(), 0);
  });
}

for (const [status, body] of [[502, "<html>"], [500, "null"], [408, ""]]) {
  test(`${status} with ${body || "nothing"} is retried`, async (t) => {
    const net = fakeNet(t);
    const sent = watch(open().send("bob", "x"));
    await (await net.request("POST")).answer(status, {}, body);
    assert.equal(sent.state, "pending");
    await advance(500);
    await (await net.request("POST")).answer();
    assert.equal(sent.state, "done");
  });
}

test("an error without a code has the status as its code", async (t) => {
  const net = fakeNet(t);
  const sent = watch(open().send("bob", "x"));
  await (await net.request("POST")).answer(405);
  assert.equal(sent.error.code, "http-405");
});

test("wait waits for a missing recipient", async (t) => {
  const net = fakeNet(t);
  const sent = watch(open().send("bob", "x", { wait: 60_000 }));
  for (let second = 0; second < 50; second++) {
    while (await net.open()) await (await net.request("POST")).problem(404, "no-such-inbox");
    await advance(1000);
  }
  assert.equal(sent.state, "pending");
  await advance(2500);
  await (await net.request("POST")).answer();
  assert.equal(sent.state, "done");
});

test("wait ends", async (t) => {
  const net = fakeNet(t);
  const sent = watch(open().send("bob", "x", { wait: 5000 }));
  for (let second = 0; second < 8; second++) {
    while (await net.open()) await (await net.request("POST")).problem(404, "no-such-inbox");
    await advance(1000);
  }
  assert.equal(sent.error.code, "no-such-inbox");
});

test("an endless wait is possible", async (t) => {
  const net = fakeNet(t);
  const ends = new AbortController();
  const sent = watch(open().send("bob", "x", { wait: Infinity, signal: ends.signal }));
  for (let i = 0; i < 200; i++) {
    while (await net.open()) await (await net.request("POST")).problem(404, "no-such-inbox");
    await advance(1000, 500);
  }
  assert.equal(sent.state, "pending");
  ends.abort();
  await settle();
  assert.equal(sent.error.name, "AbortError");
});

test("after an interruption, a send waits for the recipient to reconnect", async (t) => {
  const net = fakeNet(t);
  const sent = watch(open().send("bob", "x"));
  await (await net.request("POST")).fail();
  await advance(400);
  await (await net.request("POST")).problem(404, "no-such-inbox");
  assert.equal(sent.state, "pending");
  await advance(600);
  await (await net.request("POST")).answer();
  assert.equal(sent.state, "done");
});

test("after an interruption, a send does not wait long for the recipient", async (t) => {
  const net = fakeNet(t);
  const sent = watch(open().send("bob", "x"));
  await (await net.request("POST")).fail();
  for (let second = 0; second < 14; second++) {
    await advance(1000);
    while (await net.open()) await (await net.request("POST")).problem(404, "no-such-inbox");
  }
  assert.equal(sent.error?.code, "no-such-inbox");
});

test("sends to one recipient keep their order, and do not delay others", async (t) => {
  const net = fakeNet(t);
  const inbox = open();
  const sent = ["1", "2", "3"].map((body) => watch(inbox.send("bob", body)));
  const other = watch(inbox.send("carol", "x"));
  await (await net.request("POST", ({ query }) => query.to === "carol")).answer();
  assert.equal(other.state, "done");
  const first = await net.request("POST");
  assert.equal(first.body, "1");
  assert.equal(await net.open(), 0);
  await first.fail();
  assert.equal(await net.open(), 0);
  await advance(400);
  await (await net.request("POST")).answer();
  const second = await net.request("POST");
  assert.equal(second.body, "2");
  await second.problem(413, "too-large");
  const third = await net.request("POST");
  assert.equal(third.body, "3");
  await third.answer();
  assert.deepEqual(sent.map(({ state }) => state), ["done", "failed", "done"]);
});

test("an abort ends a send that waits for its turn, and the order is kept", async (t) => {
  const net = fakeNet(t);
  const inbox = open();
  const ends = new AbortController();
  void inbox.send("bob", "1");
  const second = watch(inbox.send("bob", "2", { signal: ends.signal }));
  void inbox.send("bob", "3");
  const first = await net.request("POST");
  ends.abort(new Error("enough"));
  await settle();
  assert.equal(second.error.message, "enough");
  assert.equal(await net.open(), 0);
  await first.answer();
  const third = await net.request("POST");
  assert.equal(third.body, "3");
  await third.answer();
});

test("a send whose turn does not come in time fails instead of overtaking", async (t) => {
  const net = fakeNet(t);
  const inbox = open();
  const first = watch(inbox.send("bob", "1", { wait: 60_000 }));
  await (await net.request("POST")).problem(404, "no-such-inbox");
  const second = watch(inbox.send("bob", "2"));
  for (let second = 0; second < 35; second++) {
    await advance(1000);
    while (await net.open("POST")) {
      const request = await net.request("POST");
      assert.equal(request.body, "1");
      await request.problem(404, "no-such-inbox");
    }
  }
  assert.equal(second.error.code, "timeout");
  assert.equal(first.state, "pending");
  await advance(2000);
  await (await net.request("POST")).answer();
  assert.equal(first.state, "done");
});

test("an abort ends a request, and a pause", async (t) => {
  const net = fakeNet(t);
  const inbox = open();
  const ends = [new AbortController(), new AbortController(), new AbortController()];
  const flying = watch(inbox.send("a", "x", { signal: ends[0].signal }));
  const request = await net.request("POST");
  ends[0].abort();
  await settle();
  assert.ok(request.aborted);
  assert.equal(flying.error.name, "AbortError");

  const pausing = watch(inbox.send("b", "x", { signal: ends[1].signal }));
  await (await net.request("POST")).fail();
  ends[1].abort();
  await settle();
  assert.equal(pausing.error.name, "AbortError");

  ends[2].abort();
  const never = watch(inbox.send("c", "x", { signal: ends[2].signal }));
  await advance(5000);
  assert.equal(never.error.name, "AbortError");
  assert.equal(await net.open(), 0);
});

test("a send is retried immediately when the network is back or the page becomes visible", async (t) => {
  const net = fakeNet(t);
  const sent = watch(open().send("bob", "x"));
  for (const type of ["online", "offline", "visibilitychange"]) {
    await (await net.request("POST")).fail();
    assert.equal(await net.open(), 0);
    net.fire(type);
  }
  await (await net.request("POST")).fail();
  document.hidden = true;
  net.fire("visibilitychange");
  assert.equal(await net.open(), 0);
  await advance(5000);
  await (await net.request("POST")).answer();
  assert.equal(sent.state, "done");
});

test("short messages outlive the page", async (t) => {
  const net = fakeNet(t);
  const inbox = open();
  void inbox.send("a", "bye");
  assert.equal((await net.request("POST")).init.keepalive, true);
  void inbox.send("b", "x".repeat(1000));
  assert.equal((await net.request("POST")).init.keepalive, false);
});

test("a last message goes by a request that outlives the page, and over the socket", async (t) => {
  const net = fakeNet(t);
  net.withSockets();
  const inbox = open();
  void watch(inbox.messages().next());
  const socket = await net.socket();
  await socket.open();
  socket.heard();
  const sent = watch(inbox.send("bob", { type: "bye" }, { last: true }));
  // Synchronously, because the page may be gone later.
  const request = net.requests.at(-1);
  assert.deepEqual([request.method, request.body, request.init.keepalive], ["POST", '{"type":"bye"}', true]);
  const key = request.headers.get("Idempotency-Key");
  assert.deepEqual(socket.heard(), [{ type: "send", to: "bob", key, body: '{"type":"bye"}' }]);
  await request.problem(403, "forbidden-origin");
  assert.equal(sent.state, "pending");
  await socket.hears({ type: "sent", key });
  assert.equal(sent.state, "done");
});

test("a last message in bytes outlives the page too", async (t) => {
  const net = fakeNet(t);
  void open().send("a", new Uint8Array([255]), { last: true });
  const request = net.requests.at(-1);
  assert.equal(request.init.keepalive, true);
  assert.deepEqual([...request.body], [255]);
});

test("close deletes the inbox and ends the loops over it", async (t) => {
  const net = fakeNet(t);
  const inbox = new Inbox("https://example.com/inbox", { id: "alice", password: "secret", transports: ["poll"] });
  const next = watch(inbox.messages().next());
  await (await net.request("GET")).nothing("c7");
  const poll = await net.request("GET");
  const closed = watch(inbox.close());
  const request = await net.request("DELETE");
  assert.equal(next.error.code, "closed");
  // The DELETE closes only the life that this object knows.
  assert.deepEqual(request.query, { life: "c7" });
  assert.equal(request.init.keepalive, true);
  await request.answer(204);
  assert.equal(closed.state, "pending");
  await poll.problem(409, "closed");
  assert.equal(closed.state, "done");
  await advance(60_000);
  assert.equal(await net.open(), 0);
});
