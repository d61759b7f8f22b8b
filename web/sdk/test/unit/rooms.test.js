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
  // Only members get an answer.
  inbox.sent.length = 0;
  await inbox.hears("stranger", { room: "standup", signal: { type: "offer", session: "s", n: 1, sdp: "their offer" } });
  await advance(100, 10);
  assert.deepEqual(inbox.sent.filter(({ to }) => to === "stranger").map(({ data }) => data.signal.type), ["bye"]);
});

test("a secret needs a secure context", async (t) => {
  t.mock.getter(crypto, "subtle", () => undefined);
  await assert.rejects(join(new FakeInbox("me"), "standup", { secret: "x" }), { message: "A secret needs https:." });
});

/** Answers the offer that this side has sent to a peer, and connects the two. */
async function answers(inbox, peer) {
  const { data: { signal: { session, n, sdp } } } = inbox.sent.findLast(({ to, data }) => to === peer && data.signal.type === "offer");
  await inbox.hears(peer, { room: "standup", signal: { session, type: "answer", n, sdp: `answer to ${sdp}` } });
  const pc = FakePeerConnection.all.find(({ localDescription }) => localDescription?.sdp === sdp);
  pc.becomes("connected");
  await settle();
  return pc;
}

/** Calls this side as a peer does, and connects the two. */
async function calls(inbox, peer, session = `session of ${peer}`) {
  const before = FakePeerConnection.all.length;
  await inbox.hears(peer, { room: "standup", signal: { session, type: "offer", n: 1, sdp: `offer of ${session}` } });
  await advance(20, 10);
  const pc = FakePeerConnection.all[before];
  pc?.becomes("connected");
  await settle();
  return pc;
}

const connecting = { connect: true, iceServers: [], outcomes: false };
const living = () => FakePeerConnection.all.filter(({ closed }) => !closed).length;
const failure = (code, status, passes) => Object.assign(new Error(code), { code, status, passes });

test("a lost server: joining again is retried until it succeeds, and keeps the connections", async (t) => {
  const { room, server, inbox } = await enter(t, ["ann", "me"], connecting);
  const { changes, loop } = follow(room);
  await advance(20, 10);
  const pc = await answers(inbox, "ann");
  server.before = async () => {
    throw failure("unreachable", 0, true);
  };
  inbox.reset();
  await advance(300_000, 1000); // far longer than join itself retries
  assert.ok(server.puts > 10 && server.puts < 40, `${server.puts} requests in five minutes`);
  // The server has forgotten the room: ann has not joined again yet.
  server.members = ["me"];
  server.before = undefined;
  await advance(45_000, 1000);
  assert.deepEqual([room.members, pc.closed, loop.done], [["me"], undefined, false]);
  assert.deepEqual(changes, ["ann connecting", "ann connected"]);
  // Nobody calls whom it is connected to.
  assert.equal(FakePeerConnection.all.length, 1);
});

test("a server that refuses to let this peer in again ends the room with its reason", async (t) => {
  const { room, server, inbox } = await enter(t, ["ann", "me"], connecting);
  const { loop } = follow(room);
  await advance(20, 10);
  const pc = await answers(inbox, "ann");
  server.before = async () => {
    throw failure("room-full", 409, false);
  };
  inbox.reset();
  await loop.ended;
  await settle();
  assert.deepEqual([loop.error.code, pc.closed, inbox.loops], ["room-full", true, 0]);
});

test("join gives up on a server that is away after about half a minute, and waits as long as it is told", async (t) => {
  fakeCalls(t);
  for (const [retryAfter, least, most] of [[undefined, 15_000, 60_000], [20_000, 100_000, 170_000]]) {
    const inbox = new FakeInbox("me");
    let [puts, ended] = [0, 0];
    inbox.server.ask = async () => {
      puts++;
      throw Object.assign(failure("draining", 503, true), { retryAfter });
    };
    const startedAt = Date.now();
    const joined = assert.rejects(join(inbox, "standup"), { code: "draining" }).then(() => (ended = Date.now() - startedAt));
    await advance(200_000, 500);
    await joined;
    assert.equal(puts, 6);
    assert.ok(ended > least && ended < most, `${ended} ms`);
    assert.equal(inbox.loops, 0);
  }
});

test("a repeated joined event makes no second connection", async (t) => {
  const { room, event, inbox } = await enter(t, ["ann", "me"], connecting);
  const { changes } = follow(room);
  event("joined", "ann");
  await advance(20, 10);
  event("joined", "ann");
  await answers(inbox, "ann");
  event("joined", "ann");
  await advance(60_000, 1000);
  assert.equal(FakePeerConnection.all.length, 1);
  assert.deepEqual([room.members, changes], [["me", "ann"], ["ann connecting", "ann connected"]]);
});

test("joining the same room again, even twice at the same time, leaves it first and ends in the room", async (t) => {
  const { room, server, inbox } = await enter(t, ["ann", "me"], connecting);
  const { loop } = follow(room);
  await advance(20, 10);
  await answers(inbox, "ann");
  const { ask } = inbox.server;
  const order = [];
  inbox.server.ask = (...given) => {
    order.push(given[2].method);
    return ask(...given);
  };
  const [, last] = await Promise.all([join(inbox, "standup", connecting), join(inbox, "standup", connecting)]);
  await loop.ended;
  await advance(20, 10);
  assert.deepEqual([order[0], order.at(-1), inbox.loops, living()], ["DELETE", "PUT", 1, 1]);
  await answers(inbox, "ann");
  await last.leave();
  await settle();
  assert.deepEqual([order.at(-1), inbox.loops, living()], ["DELETE", 0, 0]);
  assert.ok(server.deletes <= 3 && server.puts <= 3);
});

test("members after lost events: the connected stay, the others leave, and the new ones call", async (t) => {
  const { room, event, inbox } = await enter(t, ["ann", "bob", "me"], connecting);
  const { changes } = follow(room);
  await advance(20, 10);
  const ann = await answers(inbox, "ann");
  event("members", ["me", "cid"]); // ann's and bob's departures and cid's join were lost
  await settle();
  assert.deepEqual([ann.closed, changes], [undefined, ["ann connecting", "bob connecting", "ann connected", "cid connecting", "bob left"]]);
  assert.deepEqual([room.members, living()], [["me", "cid"], 1]);
  await calls(inbox, "cid");
  assert.deepEqual([changes.at(-1), living()], ["cid connected", 2]);
  // When ann's connection ends, ann is not called again.
  ann.close();
  ann.becomes("closed");
  await advance(60_000, 1000);
  assert.equal(changes.at(-1), "ann left");
  assert.equal(living(), 1);
});

test("at most four calls are answered at the same time, and the others wait for their turn", async (t) => {
  const others = Array.from({ length: 9 }, (_, i) => `peer ${i}`);
  const { room, event, inbox } = await enter(t, ["me"], connecting);
  event("members", ["me", ...others]);
  for (const peer of others) await inbox.hears(peer, { room: "standup", signal: { session: peer, type: "offer", n: 1, sdp: `offer of ${peer}` } });
  await advance(20, 10);
  assert.equal(FakePeerConnection.all.length, 4);
  FakePeerConnection.all[0].becomes("connected");
  await advance(20, 10);
  assert.equal(FakePeerConnection.all.length, 5);
  for (let i = 1; i < others.length; i++) {
    FakePeerConnection.all[i].becomes("connected");
    await advance(20, 10);
  }
  assert.deepEqual([FakePeerConnection.all.length, living()], [9, 9]);
  const { changes } = follow(room);
  await settle();
  assert.deepEqual(changes, others.map((peer) => `${peer} connected`));
});

test("leaving while connections are being made closes all, calls nobody, and sends one request", async (t) => {
  const others = Array.from({ length: 9 }, (_, i) => `peer ${i}`);
  const { room, server, inbox, event } = await enter(t, [...others, "me"], connecting);
  const { loop } = follow(room);
  await advance(20, 10);
  await inbox.hears("peer 8", { room: "standup", signal: { session: "x", type: "offer", n: 1, sdp: "an offer" } });
  await answers(inbox, "peer 0");
  assert.ok(FakePeerConnection.all.length >= 5);
  const made = FakePeerConnection.all.length;
  await room.leave();
  await loop.ended;
  event("joined", "late");
  await advance(120_000, 1000);
  assert.deepEqual([living(), FakePeerConnection.all.length, server.deletes, server.puts], [0, made, 1, 1]);
  assert.deepEqual([loop.error, inbox.loops], [undefined, 0]);
});

test("leaving while a join is on its way sends the request to leave after its answer", async (t) => {
  const { room, server, inbox } = await enter(t, ["ann", "me"]);
  const order = [];
  let answer;
  const { ask } = inbox.server;
  inbox.server.ask = async (...given) => {
    const [, , { method }] = given;
    order.push(method);
    const answered = await ask(...given);
    order.push(`${method} answered`);
    return answered;
  };
  server.before = () => new Promise((resolve) => (answer = resolve));
  inbox.reset();
  await settle();
  const left = room.leave();
  await settle();
  assert.deepEqual(order, ["PUT"]);
  answer();
  await left;
  assert.deepEqual(order, ["PUT", "PUT answered", "DELETE", "DELETE answered"]);
});

test("a request to leave is retried, and a signal that is aborted leaves too", async (t) => {
  const ends = new AbortController();
  const { server, inbox } = await enter(t, ["me"], { signal: ends.signal });
  const { ask } = inbox.server;
  let failures = 3;
  inbox.server.ask = async (...given) => {
    if (failures-- > 0) throw failure("unreachable", 0, true);
    return ask(...given);
  };
  ends.abort(new Error("enough"));
  await advance(30_000, 500);
  assert.deepEqual([server.deletes, inbox.loops, inbox.server.inFlight.size], [1, 0, 0]);
});

test("a peer that leaves and joins again calls, and gets a new connection", async (t) => {
  const { room, event, inbox } = await enter(t, ["bob", "me"], connecting);
  const { changes } = follow(room);
  await advance(20, 10);
  const first = await answers(inbox, "bob");
  event("left", "bob");
  await settle();
  assert.ok(first.closed);
  event("joined", "bob");
  await advance(5000, 500);
  assert.equal(FakePeerConnection.all.length, 1, "the newcomer calls");
  const second = await calls(inbox, "bob");
  assert.ok(!second.closed);
  await advance(60_000, 1000);
  assert.deepEqual(changes, ["bob connecting", "bob connected", "bob left", "bob connecting", "bob connected"]);
  assert.equal(living(), 1);
});

test("a peer whose page was reloaded replaces its connection, without an event", async (t) => {
  const { room, inbox } = await enter(t, ["bob", "me"], connecting);
  const { changes } = follow(room);
  await advance(20, 10);
  const first = await answers(inbox, "bob");
  const second = await calls(inbox, "bob", "the session after the reload");
  assert.deepEqual([first.closed, second.closed], [true, undefined]);
  await advance(60_000, 1000);
  assert.deepEqual(changes, ["bob connecting", "bob connected", "bob connecting", "bob connected"]);
  assert.equal(living(), 1);
});

test("a peer that calls before its joined event arrives is answered", async (t) => {
  const { room, server, inbox, event } = await enter(t, ["me"], connecting);
  const { changes } = follow(room);
  await advance(2000, 500); // the list of members is no longer current
  server.members = ["me", "bob"];
  const pc = await calls(inbox, "bob");
  event("joined", "bob");
  await advance(60_000, 1000);
  assert.deepEqual([server.puts, pc.closed, living(), changes.at(-1)], [2, undefined, 1, "bob connected"]);
});
