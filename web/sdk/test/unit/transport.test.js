/** Which transport is taken when. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Inbox } from "../../dist/messaging.js";
import { advance, collect, fakeNet, settle } from "../support/net.js";

function begin(t, { sockets = true } = {}) {
  const net = fakeNet(t);
  if (sockets) net.withSockets();
  const inbox = new Inbox("https://example.com/inbox", { id: "alice", password: "secret" });
  const told = [];
  inbox.onopen = (transport) => told.push(transport);
  inbox.onaway = ({ code }) => told.push(code);
  const got = collect(inbox.messages());
  return { net, inbox, got, told };
}

async function streams(net) {
  const stream = await (await net.request("GET", ({ query }) => !query.limit && !query.wait)).streams();
  await stream.write(": begins\n");
  for (const request of net.requests) if (request.query.limit && !request.taken) {
    request.taken = true;
    await request.nothing("c0");
  }
  return stream;
}

test("a socket first", async (t) => {
  const { net, told } = begin(t);
  await (await net.socket()).open();
  assert.deepEqual(told, ["socket"]);
  assert.equal(await net.open(), 0);
});

test("no transports given are all of them", async (t) => {
  const net = fakeNet(t);
  net.withSockets();
  const inbox = new Inbox("https://example.com/inbox", { id: "alice", password: "secret", transports: [] });
  collect(inbox.messages());
  await (await net.socket()).open();
  assert.equal(inbox.transport, "socket");
});

test("without WebSocket, as in Node 20, a stream", async (t) => {
  const { net, told } = begin(t, { sockets: false });
  await streams(net);
  assert.deepEqual(told, ["stream"]);
});

test("a refused Upgrade leads to a stream at once", async (t) => {
  const { net, told } = begin(t);
  await (await net.socket()).drop(1006);
  await streams(net);
  assert.deepEqual(told, ["stream"]);
});

test("one that is never answered leads there in time", async (t) => {
  const { net, told } = begin(t);
  const socket = await net.socket();
  await advance(4900);
  assert.equal(await net.open(), 0);
  await advance(200);
  assert.equal(socket.closed, true);
  await streams(net);
  assert.deepEqual(told, ["stream"]);
});

test("a socket that opens but says nothing leads there too", async (t) => {
  const { net, told } = begin(t);
  (await net.socket()).onopen();
  await advance(5100);
  await streams(net);
  assert.deepEqual(told, ["stream"]);
});

test("WebSocket that throws, as a policy can make it, leads there too", async (t) => {
  const net = fakeNet(t);
  globalThis.WebSocket = class {
    constructor() {
      throw new DOMException("refused", "SecurityError");
    }
  };
  collect(new Inbox("https://example.com/inbox", { id: "alice", password: "secret" }).messages());
  await streams(net);
});

test("refused Upgrade and buffered stream lead to polls", async (t) => {
  const { net, inbox, told } = begin(t);
  await (await net.socket()).drop(1006);
  await (await net.request()).streams();
  await advance(4100);
  await (await net.request()).nothing();
  assert.deepEqual(told, ["poll"]);
  assert.equal(inbox.transport, "poll");
});

test("a server that is away is tried from the top, again and again", async (t) => {
  const { net, told } = begin(t);
  for (let i = 0; i < 3; i++) {
    await (await net.socket()).drop(1006);
    await (await net.request()).fail();
    await (await net.request()).fail();
    await advance(2000);
  }
  await (await net.socket()).open();
  assert.deepEqual(told, ["unreachable", "unreachable", "unreachable", "socket"]);
});

test("what worked is tried first when it breaks", async (t) => {
  const { net, told } = begin(t);
  await (await net.socket()).drop(1006);
  const stream = await streams(net);
  await stream.end();
  await advance(500);
  await streams(net);
  assert.equal(net.sockets.length, 1);
  assert.deepEqual(told, ["stream", "unreachable", "stream"]);
});

test("a server that asks to wait is not asked over another transport meanwhile", async (t) => {
  const { net } = begin(t);
  await (await net.socket()).drop(1006);
  await (await net.request()).problem(503, "draining", { "Retry-After": "2" });
  assert.equal(await net.open(), 0);
  await advance(3000);
  await (await net.socket()).open();
});

test("a socket that breaks again and again, soon, is given up for a stream", async (t) => {
  const { net, told } = begin(t);
  for (let i = 0; i < 4; i++) {
    const socket = await net.socket();
    await socket.open();
    await advance(1000);
    await socket.drop(1006);
    await advance(2000);
  }
  await streams(net);
  assert.equal(told.at(-1), "stream");
});

test("one that lasts is not", async (t) => {
  const { net } = begin(t);
  for (let i = 0; i < 6; i++) {
    const socket = await net.socket();
    await socket.open();
    await advance(11_000, 1000);
    await socket.drop(1006);
    await advance(500);
  }
  await (await net.socket()).open();
});

test("something better is tried again after five minutes", async (t) => {
  const { net, told } = begin(t);
  await (await net.socket()).drop(1006);
  const stream = await streams(net);
  for (let i = 0; i < 19; i++) {
    await advance(15_000, 5000);
    await stream.write(":\n");
  }
  assert.equal(net.sockets.length, 1);
  await advance(15_000, 5000);
  await (await net.socket()).open();
  assert.deepEqual(told, ["stream", "socket"]);
});

test("and at once when there is another network", async (t) => {
  const { net, told } = begin(t);
  await (await net.socket()).drop(1006);
  await streams(net);
  net.fire("online");
  await (await net.socket()).open();
  assert.deepEqual(told, ["stream", "socket"]);
});

test("a page that is looked at again does not trust its connection, whatever it is", async (t) => {
  const { net, told } = begin(t);
  const socket = await net.socket();
  await socket.open();
  net.fire("visibilitychange");
  await settle();
  assert.equal(socket.closed, true);
  await (await net.socket()).open();
  assert.deepEqual(told, ["socket", "socket"]);
});

test("wrong credentials end it, over whatever they are told", async (t) => {
  const { net, got } = begin(t);
  await (await net.socket()).drop(1006);
  await (await net.request()).problem(401, "unauthorized");
  assert.equal(got.error.code, "unauthorized");
});
