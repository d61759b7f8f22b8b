/** An inbox that is closed and immediately opened by a new object, as when a page mounts a component twice. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Inbox } from "../../build/messaging.js";
import { advance, collect, fakeNet, settle } from "../support/net.js";
import { watch } from "../support/rtc.js";

let names = 0;
const open = (transport, name = `alice ${++names}`, password = "secret") =>
  new Inbox("https://example.com/inbox", { id: name, password, transports: [transport] });

for (const transport of ["poll", "stream"]) {
  test(`${transport}: a new object waits for the first request of a closed one, and for its DELETE`, async (t) => {
    const net = fakeNet(t);
    const first = open(transport);
    const before = collect(first.messages());
    const request = await net.request();
    const closed = watch(first.close());
    await settle();
    assert.equal(before.error.code, "closed");
    const second = open(transport, first.id, "another");
    const got = collect(second.messages());
    const sent = watch(second.send("bob", "hello"));
    await settle();
    // Nothing overtakes the first request, and it is not aborted: the server might handle it later.
    assert.equal(await net.open(), 0);
    assert.equal(request.aborted, false);
    if (transport === "poll") await request.nothing("life-one");
    else {
      const { write } = await request.streams();
      await write(":\n");
      await (await net.request("GET", ({ query }) => query.limit === "0")).nothing("life-one");
    }
    const remove = await net.request("DELETE");
    assert.deepEqual(remove.query, { life: "life-one" });
    assert.equal(await net.open(), 0);
    await remove.answer(204);
    await advance(1000);
    assert.equal(closed.state, "done");
    const next = await net.request();
    assert.equal(next.query.after, "0");
    await net.request("POST");
    assert.equal(got.error, undefined);
    assert.equal(sent.state, "pending");
  });
}

test("socket: an object that is closed before its socket is open lets it open first", async (t) => {
  const net = fakeNet(t);
  net.withSockets();
  const first = open("socket");
  collect(first.messages());
  const socket = await net.socket();
  void first.close();
  collect(open("socket", first.id).messages());
  await settle();
  assert.equal(net.sockets.length, 1);
  assert.ok(!socket.closed);
  await socket.open({ cursor: "life-one" });
  assert.ok(socket.closed);
  const remove = await net.request("DELETE");
  assert.deepEqual(remove.query, { life: "life-one" });
  assert.equal(net.sockets.length, 1);
  await remove.answer(204);
  await advance(1000);
  assert.equal(net.sockets.length, 2);
});

test("close waits for earlier sends, and rejects later ones", async (t) => {
  const net = fakeNet(t);
  const inbox = open("poll");
  const one = watch(inbox.send("bob", "one"));
  const two = watch(inbox.send("bob", "two"));
  void inbox.close();
  const [first] = [await net.request("POST")];
  assert.equal(await net.open("DELETE"), 0);
  await first.answer();
  const second = await net.request("POST");
  assert.equal(await net.open("DELETE"), 0);
  await second.fail();
  assert.equal(one.state, "done");
  // Another send would open the inbox again.
  assert.equal(two.error.code, "unreachable");
  assert.deepEqual((await net.request("DELETE")).query, {});
});

test("a poll that reaches the server after the DELETE opens another life, which is closed too", async (t) => {
  const net = fakeNet(t);
  const inbox = open("poll");
  collect(inbox.messages());
  await (await net.request()).nothing("life-one");
  const poll = await net.request();
  const closed = watch(inbox.close());
  const remove = await net.request("DELETE");
  await remove.answer(204);
  await poll.answer(204, { "Inbox-Cursor": "life-two", "Inbox-Reset": "true" });
  const again = await net.request("DELETE");
  assert.deepEqual(again.query, { life: "life-two" });
  await again.answer(204);
  await advance(1000);
  assert.equal(closed.state, "done");
  assert.equal(await net.open(), 0);
});

test("an inbox is closed immediately when the page is left", async (t) => {
  const net = fakeNet(t);
  const inbox = open("poll");
  collect(inbox.messages());
  await (await net.request()).nothing("life-one");
  void inbox.send("bob", "bye", { last: true });
  globalThis.event = { type: "pagehide" };
  void inbox.close();
  delete globalThis.event;
  await null;
  const [remove] = net.requests.filter(({ method }) => method === "DELETE");
  assert.deepEqual([remove.query, remove.init.keepalive], [{ life: "life-one" }, true]);
});

test("a server that does not answer delays a new object only for a while", async (t) => {
  const net = fakeNet(t);
  const first = open("poll");
  collect(first.messages());
  await net.request();
  const closed = watch(first.close());
  collect(open("poll", first.id).messages());
  await advance(25_000, 500);
  assert.equal(closed.error.code, "timeout");
  await net.request("GET");
});

test("a new object that a late request of an old one replaces continues, once", async (t) => {
  const net = fakeNet(t);
  const first = open("poll");
  const ends = new AbortController();
  const before = collect(first.messages({ signal: ends.signal }));
  await net.request();
  ends.abort();
  await before.ended;
  const second = collect(open("poll", first.id).messages());
  await (await net.request()).nothing();
  await (await net.request()).problem(409, "replaced");
  assert.equal(second.error, undefined);
  await (await net.request()).problem(409, "replaced");
  assert.equal(second.error.code, "replaced");
});

test("an inbox that was closed can be used again", async (t) => {
  const net = fakeNet(t);
  const inbox = open("poll");
  const before = collect(inbox.messages());
  await (await net.request()).nothing("life-one");
  const poll = await net.request();
  const closed = watch(inbox.close());
  const got = collect(inbox.messages());
  await (await net.request("DELETE")).answer(204);
  await poll.problem(409, "closed");
  await advance(100);
  assert.equal(before.error.code, "closed");
  assert.equal(closed.state, "done");
  assert.equal((await net.request()).query.after, "0");
  assert.equal(got.error, undefined);
});

test("the DELETE names no life if the inbox may have expired: a send may have opened another", async (t) => {
  const net = fakeNet(t);
  const inbox = open("poll");
  const ends = new AbortController();
  const got = collect(inbox.messages({ signal: ends.signal }));
  await (await net.request()).nothing("life-one");
  await net.request();
  ends.abort();
  await got.ended;
  await advance(61_000, 1000);
  void inbox.close();
  assert.deepEqual((await net.request("DELETE")).query, {});
});

test("the DELETE names a stored life only after the server has confirmed it", async (t) => {
  const net = fakeNet(t);
  const storage = { getItem: () => "stale", setItem: () => {}, removeItem: () => {} };
  const inbox = new Inbox("https://example.com/inbox", { id: `alice ${++names}`, password: "secret", transports: ["poll"], storage });
  collect(inbox.messages());
  const request = await net.request();
  const closed = watch(inbox.close());
  await request.fail();
  const remove = await net.request("DELETE");
  assert.deepEqual(remove.query, {});
  await remove.answer(204);
  await advance(1000);
  assert.equal(closed.state, "done");
});

test("objects for one inbox are closed in order", async (t) => {
  const net = fakeNet(t);
  const first = open("poll");
  collect(first.messages());
  const request = await net.request();
  void first.close();
  const second = open("poll", first.id);
  collect(second.messages());
  void second.close();
  const third = collect(open("poll", first.id).messages());
  await settle();
  assert.equal(await net.open(), 0);
  await request.nothing("life-one");
  const remove = await net.request("DELETE");
  assert.equal(await net.open(), 0);
  await remove.answer(204);
  await (await net.request("DELETE")).answer(204);
  await advance(1000);
  assert.equal((await net.request()).query.after, "0");
  assert.equal(third.error, undefined);
});

test("a send that waits for its recipient delays close only for a while", async (t) => {
  const net = fakeNet(t);
  const inbox = open("poll");
  const sent = watch(inbox.send("bob", "hello", { wait: Infinity }));
  await (await net.request("POST")).problem(404, "no-such-inbox");
  void inbox.close();
  await (async () => {
    await advance(2000);
    await (await net.request("POST")).problem(404, "no-such-inbox");
  })();
  assert.equal(sent.error.code, "no-such-inbox");
  await net.request("DELETE");
});
