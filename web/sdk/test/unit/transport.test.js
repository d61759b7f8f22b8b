/** The choice of the transport. */

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

test("a socket is tried first", async (t) => {
  const { net, told } = begin(t);
  await (await net.socket()).open();
  assert.deepEqual(told, ["socket"]);
  assert.equal(await net.open(), 0);
});

test("an empty list of transports means all", async (t) => {
  const net = fakeNet(t);
  net.withSockets();
  const inbox = new Inbox("https://example.com/inbox", { id: "alice", password: "secret", transports: [] });
  collect(inbox.messages());
  await (await net.socket()).open();
  assert.equal(inbox.transport, "socket");
});

test("without WebSocket, as in Node 20, a stream is used", async (t) => {
  const { net, told } = begin(t, { sockets: false });
  await streams(net);
  assert.deepEqual(told, ["stream"]);
});

test("a refused Upgrade leads to a stream immediately", async (t) => {
  const { net, told } = begin(t);
  await (await net.socket()).drop(1006);
  await streams(net);
  assert.deepEqual(told, ["stream"]);
});

test("an unanswered Upgrade leads to a stream within the time limit", async (t) => {
  const { net, told } = begin(t);
  const socket = await net.socket();
  await advance(4900);
  assert.equal(await net.open(), 0);
  await advance(200);
  assert.equal(socket.closed, true);
  await streams(net);
  assert.deepEqual(told, ["stream"]);
});

test("a socket that opens and stays silent leads to a stream", async (t) => {
  const { net, told } = begin(t);
  (await net.socket()).onopen();
  await advance(5100);
  await streams(net);
  assert.deepEqual(told, ["stream"]);
});

test("a WebSocket constructor that throws leads to a stream", async (t) => {
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

test("an unreachable server is retried with all transports", async (t) => {
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

test("a transport that worked is retried first", async (t) => {
  const { net, told } = begin(t);
  await (await net.socket()).drop(1006);
  const stream = await streams(net);
  await stream.end();
  await advance(500);
  await streams(net);
  assert.equal(net.sockets.length, 1);
  assert.deepEqual(told, ["stream", "unreachable", "stream"]);
});

test("a server that asks to wait gets no request over another transport meanwhile", async (t) => {
  const { net } = begin(t);
  await (await net.socket()).drop(1006);
  await (await net.request()).problem(503, "draining", { "Retry-After": "2" });
  assert.equal(await net.open(), 0);
  await advance(3000);
  await (await net.socket()).open();
});

test("a socket that keeps breaking early is given up for a stream", async (t) => {
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

test("a socket that lasts is not given up", async (t) => {
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

test("a better transport is tried again after five minutes", async (t) => {
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

test("a better transport is tried again when the network changes", async (t) => {
  const { net, told } = begin(t);
  await (await net.socket()).drop(1006);
  await streams(net);
  net.fire("online");
  await (await net.socket()).open();
  assert.deepEqual(told, ["stream", "socket"]);
});

test("a page that becomes visible reopens its connection over any transport", async (t) => {
  const { net, told } = begin(t);
  const socket = await net.socket();
  await socket.open();
  net.fire("visibilitychange");
  await settle();
  assert.equal(socket.closed, true);
  await (await net.socket()).open();
  assert.deepEqual(told, ["socket", "socket"]);
});

test("wrong credentials end the loop over any transport", async (t) => {
  const { net, got } = begin(t);
  await (await net.socket()).drop(1006);
  await (await net.request()).problem(401, "unauthorized");
  assert.equal(got.error.code, "unauthorized");
});
