/** Each transport, in Node, against the real server. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, request as ask } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach } from "node:test";
import { WebSocket } from "ws";
import { Inbox } from "../../dist/messaging.js";
import { collect } from "../support/net.js";
import { startProxy, stopProxies } from "../support/proxy.js";
import { startServer, stopServers } from "../support/server.js";
import { test } from "../support/test.js";

// Node 20 has no WebSocket.
globalThis.WebSocket ??= WebSocket;

const folder = mkdtempSync(join(tmpdir(), "inbox-sdk-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const loops = [];
afterEach(async () => {
  for (const { ends } of loops.splice(0)) ends.abort();
  await Promise.all([stopProxies(), stopServers()]);
});

const TRANSPORTS = ["socket", "stream", "poll"];

const open = (url, id, options = {}) => new Inbox(url, { id, password: "secret", ...options });

/** A loop that a test reads and ends. */
function receive(inbox, options = {}, each) {
  const ends = new AbortController();
  const resets = [];
  const got = collect(inbox.messages({ signal: ends.signal, onreset: () => resets.push(got.items.length), ...options }), each);
  loops.push({ ends });
  return Object.assign(got, { ends, resets, until: (n) => until(() => got.items.length >= n || got.done) });
}

async function until(condition) {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5));
}

/**
 * Resolves when a loop is the inbox's receiver. A poll becomes the receiver when it acknowledges;
 * a stream or socket that has delivered already is.
 */
async function waits(url, { id }, got) {
  await open(url, "somebody").send(id, "first", { wait: 5000 });
  await got.until(1);
  await until(async () => (await oldest(url, id)) === undefined);
}

/** The oldest unacknowledged message. The request neither takes it nor replaces a receiver. */
async function oldest(url, id) {
  const response = await fetch(`${url}?after=0&wait=0`, { headers: { Authorization: `Basic ${btoa(`${id}:secret`)}` } });
  return response.status === 204 ? undefined : response.text();
}

function storageIn(kept) {
  return {
    getItem: (key) => kept.get(key) ?? null,
    setItem: (key, value) => void kept.set(key, value),
    removeItem: (key) => void kept.delete(key),
  };
}

for (const transport of TRANSPORTS) {
  const only = { transports: [transport] };

  test(`${transport}: messages of all kinds arrive in order`, async () => {
    const { url } = await startServer();
    const alice = open(url, "alice ä 🦊", only);
    const bob = open(url, "bøb & co=1", only);
    const got = receive(bob);
    await until(() => bob.transport === transport);
    receive(alice); // so that a socket also sends
    await until(() => alice.transport === transport);
    const bodies = ["text", "", "ä🦊\u2028\u2029\0\u0007", JSON.stringify({ a: 1 }), "\n\nevent: closed\n\n", "x".repeat(60_000), "\u0001".repeat(16_000)];
    for (const body of bodies) await alice.send(bob.id, body);
    const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
    await alice.send(bob.id, bytes);
    await got.until(bodies.length + 1);
    assert.deepEqual(got.texts.slice(0, -1), bodies);
    assert.deepEqual(got.items.at(-1).bytes, bytes);
    assert.equal(got.items[0].from, alice.id);
    assert.ok(Math.abs(got.items[0].time - Date.now()) < 60_000);
  });

  test(`${transport}: 300 messages, more than a window or an inbox holds, from three senders`, async () => {
    const { url } = await startServer();
    const bob = open(url, "bob", only);
    // Slower than the messages arrive.
    const got = receive(bob, {}, () => new Promise(setImmediate));
    await until(() => bob.transport);
    const senders = ["a", "b", "c"].map((id) => open(url, id));
    await Promise.all(senders.flatMap((sender) => Array.from({ length: 100 }, (_, i) => sender.send("bob", i))));
    await got.until(300);
    for (const { id } of senders) {
      assert.deepEqual(got.items.filter(({ from }) => from === id).map(({ data }) => data), Array.from({ length: 100 }, (_, i) => i));
    }
  });

  test(`${transport}: unfinished messages arrive again, finished ones do not`, async () => {
    const { url } = await startServer();
    const alice = open(url, "alice");
    const bob = open(url, "bob", only);
    const first = receive(bob, {}, ({ text }) => {
      if (text === "two") throw new Error("broken");
    });
    await until(() => bob.transport);
    for (const text of ["one", "two", "three"]) await alice.send("bob", text);
    await first.ended;
    assert.equal(first.error.message, "broken");
    await until(async () => (await oldest(url, "bob")) === "two"); // the end of a loop does not wait for its acknowledgement
    const second = receive(open(url, "bob", only)); // another program without a cursor
    await second.until(2);
    assert.deepEqual(second.texts, ["two", "three"]);
  });

  test(`${transport}: a crash loses messages and causes a reset, and a snapshot keeps them`, async () => {
    const flags = ["--snapshot", join(folder, transport)];
    let server = await startServer(flags);
    const alice = open(server.url, "alice");
    const bob = open(server.url, "bob", only);
    const got = receive(bob);
    await until(() => bob.transport);
    await alice.send("bob", "before");
    await got.until(1);
    await server.stop();
    server = await startServer(flags, server.port);
    await alice.send("bob", "after a stop");
    await got.until(2);
    assert.deepEqual(got.resets, []);
    await until(() => bob.transport);
    await server.kill();
    await startServer(flags, server.port);
    await alice.send("bob", "after a crash", { wait: 10_000 }); // bob has to reconnect first
    await got.until(3);
    assert.equal(got.resets.length, 1);
    assert.deepEqual(got.texts, ["before", "after a stop", "after a crash"]);
  });

  test(`${transport}: a crash causes a reset even if there was never a message`, async () => {
    const server = await startServer();
    const kept = new Map();
    const bob = open(server.url, "bob", { ...only, storage: storageIn(kept) });
    let opened = 0;
    bob.onopen = () => opened++;
    const got = receive(bob);
    await until(() => kept.size); // the position is known
    await server.kill();
    await startServer([], server.port);
    await until(() => opened === 2);
    await until(() => got.resets.length === 1);
  });

  test(`${transport}: the newer receiver replaces the older one`, async () => {
    const { url } = await startServer();
    const inbox = open(url, "bob", only);
    const older = receive(open(url, "bob", only));
    await waits(url, inbox, older);
    const newer = receive(inbox);
    await older.ended;
    assert.equal(older.error.code, "replaced");
    await until(() => inbox.transport === transport);
    await open(url, "alice").send("bob", "hello");
    await newer.until(1);
    assert.deepEqual([older.texts, newer.texts], [["first"], ["hello"]]);
  });

  test(`${transport}: another password is unauthorized, and a closed inbox is closed`, async () => {
    const { url } = await startServer();
    const inbox = open(url, "bob", only);
    const got = receive(inbox);
    await until(() => inbox.transport);
    const thief = receive(new Inbox(url, { id: "bob", password: "another", ...only }));
    await thief.ended;
    assert.equal(thief.error.code, "unauthorized");
    await assert.rejects(new Inbox(url, { id: "bob", password: "another" }).send("alice", "x"), { code: "unauthorized", status: 401 });
    await waits(url, inbox, got);
    await open(url, "bob").close();
    await got.ended;
    assert.equal(got.error.code, "closed");
    await assert.rejects(open(url, "alice").send("bob", "x"), { code: "no-such-inbox" });
  });

  test(`${transport}: an inbox with a receiver does not expire`, async () => {
    const { url } = await startServer(["--inbox-ttl", "1s"]);
    const inbox = open(url, "bob", only);
    const got = receive(inbox);
    await until(() => inbox.transport);
    await new Promise((resolve) => setTimeout(resolve, 2500)); // longer than an inbox lives
    await open(url, "alice").send("bob", "still there");
    await got.until(1);
    assert.deepEqual(got.resets, []);
  });

  test(`${transport}: a stored cursor continues where it was`, async () => {
    const { url } = await startServer();
    const kept = new Map();
    const storage = storageIn(kept);
    const alice = open(url, "alice");
    const first = receive(open(url, "bob", { ...only, storage }));
    await until(() => kept.size || first.items.length);
    await alice.send("bob", "one", { wait: 5000 });
    await first.until(1);
    first.ends.abort();
    await first.ended;
    await alice.send("bob", "two");
    const second = receive(open(url, "bob", { ...only, storage }));
    await second.until(1);
    assert.deepEqual(second.texts, ["two"]);
    assert.deepEqual(second.resets, []);
  });
}

for (const [name, habits, transport] of [
  ["honest", {}, "socket"],
  ["one that refuses WebSockets", { refuseUpgrade: true }, "stream"],
  ["one that opens WebSockets, and lets nothing through", { mute: true }, "stream"],
  ["one that also keeps streams", { refuseUpgrade: true, buffer: true }, "poll"],
]) {
  test(`a proxy, ${name}: ${transport}`, async () => {
    const server = await startServer();
    const proxy = await startProxy(server.url, habits);
    const bob = open(proxy.url, "bob");
    const got = receive(bob);
    await until(() => bob.transport);
    assert.equal(bob.transport, transport);
    await open(proxy.url, "alice").send("bob", "hello");
    await got.until(1);
  });
}

test("a lost answer does not duplicate a message", async () => {
  const { url } = await startServer();
  const { hostname, port } = new URL(url);
  let lost = 0;
  // Passes requests on, and drops every second answer.
  const thief = createServer((request, response) => {
    const outgoing = ask({ hostname, port, method: request.method, path: request.url, headers: request.headers }, (answer) => {
      if (request.method === "POST" && lost++ % 2 === 0) {
        answer.resume().on("end", () => response.destroy());
        return;
      }
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    request.pipe(outgoing);
  }).listen(0, "127.0.0.1");
  await once(thief, "listening");
  const bob = open(url, "bob");
  const got = receive(bob);
  await until(() => bob.transport);
  const alice = open(`http://127.0.0.1:${thief.address().port}/inbox`, "alice");
  for (let i = 0; i < 5; i++) await alice.send("bob", i);
  await bob.send("bob", "end");
  await got.until(6);
  assert.equal(lost, 10);
  assert.deepEqual(got.items.map(({ data, text }) => data ?? text), [0, 1, 2, 3, 4, "end"]);
  thief.closeAllConnections();
  thief.close();
});

test("a send waits for a full inbox", async () => {
  const { url } = await startServer(["--inbox-capacity", "3", "--sender-share", "0"]);
  const alice = open(url, "alice");
  const bob = open(url, "bob");
  const first = receive(bob);
  await until(() => bob.transport);
  first.ends.abort();
  await first.ended;
  const sent = [];
  for (let i = 0; i < 6; i++) sent.push(alice.send("bob", i));
  await Promise.all(sent.slice(0, 3));
  const got = receive(bob);
  await Promise.all(sent);
  await got.until(6);
  assert.deepEqual(got.items.map(({ data }) => data), [0, 1, 2, 3, 4, 5]);
});

test("a message that is too large is refused, and the socket stays open", async () => {
  const { url } = await startServer(["--max-body", "1KiB"]);
  const inbox = open(url, "bob");
  const got = receive(inbox);
  await until(() => inbox.transport === "socket");
  for (const size of [1025, 5000, 15_000, 70_000]) {
    await assert.rejects(inbox.send("bob", "x".repeat(size)), { code: "too-large", status: 413 });
  }
  await inbox.send("bob", "x".repeat(1024));
  await got.until(1);
  assert.equal(got.done, false);
});

for (const transport of TRANSPORTS) {
  test(`behind a rate limit, no message is lost or duplicated: ${transport}`, async () => {
    const { url } = await startServer(["--limit-requests", "20/s,burst=12"]);
    const bob = open(url, "bob", { transports: [transport] });
    const away = [];
    bob.onaway = ({ code }) => away.push(code);
    const got = receive(bob);
    await until(() => bob.transport);
    const alice = open(url, "alice");
    const before = Date.now();
    const sent = [];
    for (let i = 0; i < 30; i++) sent.push(alice.send("bob", i));
    await Promise.all(sent);
    await got.until(30);
    assert.deepEqual(got.items.map(({ data }) => data), Array.from({ length: 30 }, (_, i) => i));
    assert.ok(Date.now() - before > 800, "nothing was limited");
    assert.equal(got.done, false);
    assert.deepEqual(away.filter((code) => code !== "rate-limited"), []);
  });
}
