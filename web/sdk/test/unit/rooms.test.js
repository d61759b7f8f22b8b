/** Rooms without a server: events that are lost, slow loops, and bounds. */

import assert from "node:assert/strict";
import { join } from "../../build/rooms.js";
import { advance, collect, settle } from "../support/net.js";
import { FakeInbox, FakePeerConnection, fakeCalls } from "../support/rtc.js";
import { test } from "../support/test.js";

/** Joins a room whose server lists these members. `puts` and `deletes` count the requests. */
async function enter(t, members, options = {}) {
  fakeCalls(t);
  const inbox = new FakeInbox("me");
  const server = { members, puts: 0, deletes: 0 };
  inbox.server.ask = async (_, query, { method }) => {
    assert.deepEqual(query, { room: "standup" });
    if (method === "DELETE") return void server.deletes++;
    server.puts++;
    await server.before?.();
    return { content: JSON.stringify({ members: server.members }) };
  };
  const room = await join(inbox, "standup", { connect: false, ...options });
  const event = (event, more) => inbox.onroom({ name: "standup", event, ...(typeof more === "string" ? { peer: more } : { members: more }) });
  return { inbox, server, room, event };
}

/** Follows a room, and lists the changes as texts. */
function follow(room) {
  const changes = [];
  return { changes, loop: collect(room.peers(), ({ peer, state }) => changes.push(`${peer} ${state}`)) };
}

test("a members event replaces the list, and unknown events have no effect", async (t) => {
  const { room, event, server } = await enter(t, ["ann", "bob", "me"]);
  const { changes } = follow(room);
  await settle();
  event("members", ["bob", "me", "cid"]);
  event("promoted", "bob");
  event("joined", "me");
  await settle();
  assert.deepEqual([...room.members].sort(), ["bob", "cid", "me"]);
  assert.deepEqual(changes, ["ann joined", "bob joined", "cid joined", "ann left"]);
  // A list without this peer means that it has to join again.
  server.members = ["bob", "me"];
  event("members", ["bob"]);
  await settle();
  assert.deepEqual([server.puts, room.members], [2, ["bob", "me"]]);
});

test("an event that overtakes the answer to a join is not lost", async (t) => {
  const { room, event, server, inbox } = await enter(t, ["me"]);
  server.before = () => event("joined", "bob"); // the answer was written before bob joined
  inbox.reset();
  await settle();
  assert.deepEqual([server.puts, room.members], [2, ["me", "bob"]]);
});

test("a reset joins again, and leaving sends one request and ends the loops", async (t) => {
  const { room, server, inbox } = await enter(t, ["ann", "me"]);
  const { changes, loop } = follow(room);
  await settle();
  server.members = ["me"];
  inbox.reset();
  await settle();
  assert.deepEqual([server.puts, changes], [2, ["ann joined", "ann left"]]);
  await Promise.all([room.leave(), room.leave()]);
  await loop.ended;
  assert.deepEqual([server.deletes, loop.error, inbox.loops], [1, undefined, 0]);
});

test("a slow loop gets the latest state of each peer, and nothing of those who came and went", async (t) => {
  const { room, event } = await enter(t, ["ann", "me"]);
  const slow = room.peers();
  assert.equal((await slow.next()).value.peer, "ann");
  for (let i = 0; i < 5000; i++) {
    event("joined", `peer ${i}`);
    event("left", `peer ${i}`);
  }
  event("left", "ann");
  event("joined", "bob");
  const two = [(await slow.next()).value, (await slow.next()).value];
  assert.deepEqual(two, [{ peer: "ann", state: "left" }, { peer: "bob", state: "joined" }]);
});

test("at most four calls are made at the same time, and a failed one is made again after a pause", async (t) => {
  t.mock.method(Math, "random", () => 0.9);
  const others = Array.from({ length: 9 }, (_, i) => `peer ${i}`);
  const { room, inbox, server } = await enter(t, [...others, "me"], { connect: true, iceServers: [] });
  const { changes } = follow(room);
  await advance(100, 10);
  assert.deepEqual(FakePeerConnection.all.length, 4);
  const { to, data: { room: name, signal: { session } } } = inbox.sent.find(({ data }) => data.signal.type === "offer");
  assert.deepEqual([to, name], ["peer 0", "standup"]);
  // A bye of the peer makes place for the next call.
  await inbox.hears("peer 0", { room: "standup", signal: { type: "bye", session, why: "ended" } });
  await advance(100, 10);
  assert.equal(FakePeerConnection.all.length, 5);
  assert.equal(changes.at(-1), "peer 0 failed");
  assert.equal(server.puts, 1);
  await advance(2000, 100);
  assert.equal(server.puts, 2, "it joins again before it calls again");
  await room.leave();
  assert.ok(FakePeerConnection.all.every(({ closed }) => closed));
});

test("a peer that joined later calls, and this side calls if it does not", async (t) => {
  const { event, inbox, server } = await enter(t, ["me"], { connect: true, iceServers: [] });
  server.members = ["me", "bob"];
  event("joined", "bob");
  await advance(5000, 500);
  assert.equal(FakePeerConnection.all.length, 0);
  await advance(15_000, 500);
  assert.equal(FakePeerConnection.all.length, 1);
  // Nobody but a member is answered.
  inbox.sent.length = 0;
  await inbox.hears("stranger", { room: "standup", signal: { type: "offer", session: "s", n: 1, sdp: "their offer" } });
  await advance(100, 10);
  assert.deepEqual(inbox.sent.filter(({ to }) => to === "stranger").map(({ data }) => data.signal.type), ["bye"]);
});

test("a secret needs a secure context", async (t) => {
  t.mock.getter(crypto, "subtle", () => undefined);
  await assert.rejects(join(new FakeInbox("me"), "standup", { secret: "x" }), { message: "A secret needs https:." });
});
