import assert from "node:assert/strict";
import { test } from "node:test";
import { Inbox } from "../../dist/messaging.js";
import { advance, collect, event, fakeNet, settle } from "../support/net.js";

const open = (options = {}) =>
  new Inbox("https://example.com/inbox", { id: "alice", password: "secret", transports: ["stream"], ...options });

test("a stream is one request, and acknowledgements are separate requests", async (t) => {
  const net = fakeNet(t);
  const inbox = open();
  const got = collect(inbox.messages());
  const request = await net.request();
  assert.deepEqual(request.query, { after: "0" });
  assert.equal(request.headers.get("Accept"), "text/event-stream");
  assert.equal(request.init.credentials, "omit");
  const { write } = await request.streams();
  assert.equal(inbox.transport, undefined);
  await write(": begins\n");
  assert.equal(inbox.transport, "stream");
  // The position of the inbox, so that a reset is noticed even without a message.
  const standing = await net.request();
  assert.deepEqual(standing.query, { after: "0", limit: "0" });
  await standing.nothing("c0");
  await write(event(["c1", "one"]));
  const first = await net.request();
  assert.deepEqual(first.query, { after: "c1", limit: "0" });
  await write(event(["c2", "two"]) + event(["c3", "three"]));
  assert.deepEqual(got.texts, ["one", "two", "three"]);
  assert.equal(await net.open(), 0); // one at a time
  await first.nothing("c1");
  assert.deepEqual((await net.request()).query, { after: "c3", limit: "0" });
});

test("an acknowledgement that ends with the loop is repeated", async (t) => {
  const net = fakeNet(t);
  const got = collect(open().messages(), ({ text }) => {
    if (text === "two") throw new Error("broken");
  });
  const { write } = await (await net.request()).streams();
  await write(": begins\n");
  await (await net.request()).nothing("c0");
  await write(event(["c1", "one"]));
  const cut = await net.request();
  assert.deepEqual(cut.query, { after: "c1", limit: "0" });
  await write(event(["c2", "two"]));
  assert.equal(got.error.message, "broken");
  assert.ok(cut.aborted);
  const again = await net.request();
  assert.deepEqual(again.query, { after: "c1", limit: "0" });
  await again.nothing("c1");
  assert.equal(await net.open(), 0);
});

test("chunks may be cut anywhere, and bodies may contain anything", async (t) => {
  const net = fakeNet(t);
  const got = collect(open().messages());
  const { write } = await (await net.request()).streams();
  const bodies = ["ä🦊\u2028event: closed\u2029\u0085", "\n\nevent: replaced\ndata: {}\n\n", "id: x\r\n", ""];
  const bytes = Buffer.from(`: begins\n:\n${bodies.map((body, i) => event([`c${i + 1}`, body])).join(":\n")}`);
  for (let at = 0; at < bytes.length; at += 3) await write(bytes.subarray(at, at + 3));
  assert.deepEqual(got.texts, bodies);
  assert.equal(got.done, false);
});

test("a stream without a first line counts as buffered", async (t) => {
  const net = fakeNet(t);
  const inbox = open({ transports: ["stream", "poll"] });
  const got = collect(inbox.messages());
  const request = await net.request();
  await request.streams();
  await advance(3900);
  assert.equal(await net.open(), 0);
  await advance(200);
  assert.ok(request.aborted);
  const poll = await net.request();
  assert.deepEqual(poll.query, { after: "0", wait: "0" });
  await poll.messages(["c1", "one"]);
  assert.equal(inbox.transport, "poll");
  assert.deepEqual(got.texts, ["one"]);
});

test("a stream without headers counts as buffered", async (t) => {
  const net = fakeNet(t);
  collect(open({ transports: ["stream", "poll"] }).messages());
  const request = await net.request();
  await advance(4100);
  assert.ok(request.aborted);
  assert.deepEqual((await net.request()).query, { after: "0", wait: "0" });
});

test("a stream that falls silent later is reopened and resumed", async (t) => {
  const net = fakeNet(t);
  const inbox = open();
  const away = [];
  inbox.onaway = ({ code }) => away.push(code);
  const got = collect(inbox.messages());
  const request = await net.request();
  const { write } = await request.streams();
  await write(": begins\n");
  await (await net.request()).nothing("c0");
  await write(event(["c1", "one"]));
  for (const left of net.requests) left.taken = true;
  for (let i = 0; i < 3; i++) {
    await advance(15_000, 1000);
    await write(":\n");
  }
  assert.equal(request.aborted, false);
  await advance(25_000, 1000);
  assert.ok(request.aborted);
  assert.deepEqual(away, ["timeout"]);
  for (const left of net.requests) if (left.query.limit) left.taken = true;
  await advance(500);
  const next = await net.request("GET", ({ query }) => !query.limit);
  assert.deepEqual(next.query, { after: "c1" });
  const again = await next.streams();
  await again.write(`id: c2\n\n${event(["c1", "one"])}${event(["c2", "two"])}`);
  assert.deepEqual(got.texts, ["one", "two"]);
});

test("a stream that ends is reopened", async (t) => {
  const net = fakeNet(t);
  collect(open().messages());
  const { write, end } = await (await net.request()).streams();
  await write(": begins\n");
  await (await net.request()).nothing("c0");
  await end();
  assert.equal(await net.open(), 0);
  await advance(500);
  assert.deepEqual((await net.request()).query, { after: "c0" });
});

for (const code of ["replaced", "closed"]) {
  test(`the event ${code} ends the loop`, async (t) => {
    const net = fakeNet(t);
    const got = collect(open().messages());
    const { write } = await (await net.request()).streams();
    await write(`: begins\nid: c0\nevent: ${code}\ndata: {"code":"${code}"}\n\n`);
    assert.equal(got.error.code, code);
    assert.equal(got.error.status, 409);
    for (const left of net.requests) left.taken = true;
    await advance(60_000, 1000);
    assert.equal(await net.open(), 0);
  });
}

test("the event draining does not end the loop", async (t) => {
  const net = fakeNet(t);
  const inbox = open();
  const away = [];
  inbox.onaway = ({ code }) => away.push(code);
  const got = collect(inbox.messages());
  const { write } = await (await net.request()).streams();
  await write(": begins\n");
  await (await net.request()).nothing("c0");
  await write('event: draining\ndata: {"code":"draining"}\n\n');
  assert.deepEqual(away, ["draining"]);
  await advance(500);
  assert.deepEqual((await net.request()).query, { after: "c0" });
  assert.equal(got.done, false);
});

test("the event reset is reported", async (t) => {
  const net = fakeNet(t);
  let resets = 0;
  const got = collect(open().messages({ onreset: () => resets++ }));
  const { write } = await (await net.request()).streams();
  await write(`id: a1\n\n${event(["a1", "old"])}`);
  await settle();
  await write(`event: reset\ndata: {"code":"reset"}\n\n${event(["b1", "new"])}`);
  assert.equal(resets, 1);
  assert.deepEqual(got.texts, ["old", "new"]);
});

test("a stream that ends before its position is known may have lost messages", async (t) => {
  const net = fakeNet(t);
  let resets = 0;
  const got = collect(open().messages({ onreset: () => resets++ }));
  const { write, end } = await (await net.request()).streams();
  await write(": begins\n");
  const unanswered = await net.request();
  await end();
  assert.ok(unanswered.aborted);
  assert.equal(resets, 0);
  await advance(2000);
  const again = await net.request();
  assert.deepEqual(again.query, { after: "0" });
  const stream = await again.streams();
  await stream.write(": begins\n");
  assert.equal(resets, 1);
  await (await net.request()).nothing("c0");
  await stream.write(event(["c1", "one"]));
  assert.deepEqual([resets, got.texts], [1, ["one"]]);
});

test("another response is not taken for a stream", async (t) => {
  const net = fakeNet(t);
  const inbox = open({ transports: ["stream", "poll"] });
  const got = collect(inbox.messages());
  await (await net.request()).answer(200, { "Content-Type": "text/html" }, "<html>please log in</html>");
  assert.equal(inbox.transport, undefined);
  const poll = await net.request();
  assert.deepEqual(poll.query, { after: "0", wait: "0" });
  await poll.answer(200, { "Content-Type": "text/html" }, "<html>please log in</html>");
  assert.equal(got.error.code, "not-inbox");
  await advance(60_000, 1000);
  assert.equal(await net.open(), 0);
});

test("an abort ends the stream", async (t) => {
  const net = fakeNet(t);
  const ends = new AbortController();
  const got = collect(open().messages({ signal: ends.signal }));
  const request = await net.request();
  const { write } = await request.streams();
  await write(": begins\n");
  ends.abort();
  await got.ended;
  await settle();
  assert.ok(request.aborted);
  assert.equal(got.error, undefined);
});
