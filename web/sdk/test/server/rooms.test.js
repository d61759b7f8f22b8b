/** Rooms on each transport, in Node, against the real server. Node has no WebRTC, so they have no connections. */

import assert from "node:assert/strict";
import { afterEach } from "node:test";
import { WebSocket } from "ws";
import { Inbox } from "../../dist/inbox.js";
import { join } from "../../dist/rooms.js";
import { collect } from "../support/net.js";
import { startServer, stopServers } from "../support/server.js";
import { test } from "../support/test.js";

// Node 20 has none.
globalThis.WebSocket ??= WebSocket;

const inboxes = [];
afterEach(async () => {
  await Promise.allSettled(inboxes.splice(0).map((inbox) => inbox.close()));
  await stopServers();
});

function open(url, id, options = {}) {
  const inbox = new Inbox(url, { id, password: "secret", ...options });
  inboxes.push(inbox);
  return inbox;
}

async function until(condition) {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** Joins without connections, and collects the changes as texts. */
async function enter(inbox, name = "standup", options = {}) {
  const room = await join(inbox, name, { connect: false, ...options });
  const changes = [];
  const loop = collect(room.peers(), ({ peer, state }) => changes.push(`${peer} ${state}`));
  return { room, changes, loop };
}

for (const transport of ["socket", "stream", "poll"]) {
  const only = { transports: [transport] };

  test(`${transport}: a member gets joins and leaves in order, and messages() does not show them`, async () => {
    const { url } = await startServer();
    const ann = open(url, "ann", only);
    const messages = collect(ann.messages());
    const { room, changes } = await enter(ann);
    assert.deepEqual([room.id, room.members], ["standup", ["ann"]]);
    const others = [];
    for (const id of ["bob", "cid", "dan", "eve", "fay"]) others.push(await enter(open(url, id, only)));
    await until(() => changes.length === 5);
    assert.deepEqual(changes, ["bob joined", "cid joined", "dan joined", "eve joined", "fay joined"]);
    assert.deepEqual(room.members, ["ann", "bob", "cid", "dan", "eve", "fay"]);
    assert.deepEqual(others.at(-1).room.members, room.members);

    await others[1].room.leave();
    await until(() => changes.length === 6);
    await inboxes[2].send("ann", "after the leave");
    await until(() => messages.items.length);
    assert.deepEqual([changes.at(-1), messages.texts], ["cid left", ["after the leave"]]);
    await until(() => others[0].room.members.length === 5);

    await others[0].room.send("to all");
    await until(() => messages.items.length === 2);
    assert.deepEqual([messages.items[1].from, messages.texts[1]], ["bob", "to all"]);
    await inboxes[1].close();
    await until(() => changes.at(-1) === "bob left");
    await others[0].loop.ended;
    assert.equal(others[0].loop.error, undefined, "closing the inbox ends the loop without an error");
  });

  test(`${transport}: events are acknowledged without a room in this program`, async () => {
    const { url } = await startServer();
    const password = "secret";
    const ann = open(url, "ann", only);
    const ends = new AbortController();
    const messages = collect(ann.messages({ signal: ends.signal }));
    await until(() => ann.transport);
    const headers = { Authorization: `Basic ${btoa(`ann:${password}`)}` };
    assert.equal((await fetch(`${url}?room=standup`, { method: "PUT", headers })).status, 200);
    await enter(open(url, "bob"));
    // A raw poll with events=1 sees the event until it is acknowledged.
    const waiting = async () => (await fetch(`${url}?after=0&wait=0&limit=1&events=1`, { headers })).status;
    while ((await waiting()) !== 204) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.deepEqual(messages.items, []);
    ends.abort();
  });

  test(`${transport}: a room is joined again after the server lost it`, async () => {
    const server = await startServer();
    const [ann, bob] = ["ann", "bob"].map((id) => open(server.url, id, only));
    const [a, b] = [await enter(ann), await enter(bob)];
    await until(() => a.room.members.length === 2);
    await server.kill();
    await startServer([], server.port);
    const cid = await enter(open(server.url, "cid"));
    await until(() => [a, b, cid].every(({ room }) => room.members.length === 3 && room.members.includes("cid")));
    assert.ok(a.changes.includes("cid joined") && b.changes.includes("cid joined"));
  });
}

test("rooms of one inbox are separate, and leaving one keeps the inbox and the others", async () => {
  const { url } = await startServer();
  const [ann, bob] = ["ann", "bob"].map((id) => open(url, id));
  const [red, blue] = [await enter(ann, "red"), await enter(ann, "blue")];
  await enter(bob, "blue");
  await until(() => blue.changes.length);
  assert.deepEqual([red.changes, blue.changes], [[], ["bob joined"]]);
  await red.room.leave();
  await red.loop.ended;
  await bob.send("ann", "still there");
  const [{ text }] = [(await ann.messages().next()).value];
  assert.equal(text, "still there");
  assert.deepEqual(blue.room.members, ["ann", "bob"]);
  await red.room.leave(); // has no effect
});

test("joining again leaves first, and so does an inbox that is closed and opened again at once", async () => {
  const { url } = await startServer();
  const bob = await enter(open(url, "bob"));
  const ann = open(url, "ann");
  const first = await enter(ann);
  const second = await enter(ann);
  await first.loop.ended;
  assert.deepEqual(second.room.members, ["bob", "ann"]);
  void second.room.leave();
  void ann.close();
  const { room } = await enter(open(url, "ann"));
  // A loop may skip stays that ended before it reached them.
  await until(() => bob.room.members.length === 2 && bob.changes.at(-1) === "ann joined");
  assert.deepEqual(room.members, ["bob", "ann"]);
});

test("join fails with the server's reason, and an aborted one with its own", async () => {
  const { url } = await startServer();
  const ann = open(url, "ann");
  await assert.rejects(enter(ann, "a:b"), { name: "InboxError", code: "bad-request" });
  await assert.rejects(enter(ann, "x", { signal: AbortSignal.abort(new Error("enough")) }), /enough/);
  for (let i = 0; i < 16; i++) await enter(ann, `room ${i}`);
  await assert.rejects(enter(ann, "one more"), { code: "too-many-rooms" });
  const ends = new AbortController();
  const bob = await enter(open(url, "bob"), "room 0", { signal: ends.signal });
  ends.abort();
  await bob.loop.ended;
  assert.equal(bob.loop.error, undefined);
});

test("a page of the same id that takes the inbox over ends the room with replaced", async () => {
  const { url } = await startServer();
  const { loop } = await enter(open(url, "ann"));
  const other = open(url, "ann");
  await enter(other);
  await loop.ended;
  assert.equal(loop.error.code, "replaced");
});

test("a secret becomes part of the name, as the protocol defines it", async () => {
  const { url } = await startServer();
  const { room } = await enter(open(url, "ann"), "standup", { secret: "ä" });
  // printf '2:ästandup' | sha256sum | xxd -r -p | basenc --base64url
  const { createHash } = await import("node:crypto");
  assert.equal(room.id, createHash("sha256").update("2:ästandup").digest("base64url"));
});
