/** The loop over calls, and calls that ring. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Inbox, InboxError, accept, connect } from "../../build/inbox.js";
import { answered, connected, last, ringing } from "../support/calls.js";
import { advance, collect, fakeNet, settle } from "../support/net.js";
import { FakeInbox, FakePeerConnection, fakeCalls, watch } from "../support/rtc.js";

test("candidates that come while it rings are kept too", async (t) => {
  const { inbox, call, offer } = await ringing(t);
  await inbox.hears("bob", { type: "candidates", session: offer.session, candidates: [{ candidate: "1 typ host" }] });
  assert.equal(last(), undefined);
  void call.accept();
  await settle();
  assert.deepEqual(last().added, ["1 typ host"]);
  const [answer] = inbox.take();
  assert.deepEqual([answer.type, answer.session, answer.n], ["answer", "s", 1]);
});

test("a repeated offer rings once, and is answered again", async (t) => {
  const { inbox, calls, call, offer } = await ringing(t);
  await inbox.hears("bob", offer);
  assert.equal(calls.items.length, 1);
  assert.equal(call.from, "bob");
  void call.accept();
  await advance(20, 10);
  assert.equal(inbox.take("answer").length, 2);
  await inbox.hears("bob", offer);
  assert.equal(inbox.take("answer").length, 1);
  assert.equal(last().signalingState, "stable");
});

test("accepting twice has the effect of accepting once", async (t) => {
  const { call } = await ringing(t);
  const both = [watch(call.accept()), watch(call.accept())];
  await settle();
  assert.equal(FakePeerConnection.all.length, 1);
  last().becomes("connected");
  await settle();
  assert.equal(both[0].value, last());
  assert.equal(both[1].value, last());
});

test("a rejected caller gets the reason, also for a repeated offer", async (t) => {
  const { inbox, call, offer } = await ringing(t);
  call.reject("busy");
  await settle();
  const bye = { type: "bye", session: "s", why: "rejected", reason: "busy" };
  assert.deepEqual(inbox.take(), [bye]);
  assert.ok(call.signal.aborted);
  await inbox.hears("bob", offer);
  assert.deepEqual(inbox.take(), [bye]);
});

test("an inbox that is taken over ends unconnected calls, and the loop", async (t) => {
  const { inbox, call, pc } = await connected(t);
  const pending = watch(connect(inbox, "carol"));
  const loop = collect(accept(inbox));
  await settle();
  const replaced = new InboxError("replaced", 409);
  await inbox.hears(replaced);
  assert.equal(pending.error, replaced);
  assert.equal(loop.error, replaced);
  assert.equal(call.state, "done");
  assert.ok(!pc.closed);
  // A new loop receives again, also for the old connection.
  const again = watch(connect(inbox, "dave"));
  await settle();
  assert.equal(again.state, "pending");
  assert.equal(inbox.loops, 1);
});

test("an abort ends the loop over calls, but not the calls", async (t) => {
  const { inbox, calls, ends, pc } = await answered(t);
  ends.abort();
  await calls.ended;
  assert.equal(calls.error, undefined);
  assert.ok(!pc.closed);
  assert.equal(inbox.loops, 1);
  pc.close();
  await settle();
  assert.equal(inbox.loops, 0);
});

test("a call that is not accepted rings for a minute", async (t) => {
  const { inbox, call } = await ringing(t);
  await advance(59_000, 1000);
  assert.equal(call.signal.aborted, false);
  await advance(2000, 1000);
  assert.ok(call.signal.aborted);
  assert.deepEqual(inbox.take("bye").map(({ why }) => why), ["no-answer"]);
});

test("a call that the caller has given up is not offered to the loop", async (t) => {
  const { inbox, call, offer } = await ringing(t);
  await inbox.hears("bob", { type: "bye", session: offer.session, why: "closed" });
  assert.equal(call.signal.reason.code, "ended");
  const late = watch(call.accept());
  await settle();
  assert.equal(late.error.code, "ended");
  assert.equal(FakePeerConnection.all.length, 0);
  assert.equal(inbox.loops, 1);
});

test("calls that arrive before the loop begins are kept", async (t) => {
  const { inbox } = await connected(t);
  await inbox.hears("carol", { type: "offer", session: "c", n: 1, sdp: "x" });
  const calls = collect(accept(inbox));
  await settle();
  assert.deepEqual(calls.items.map(({ from }) => from), ["carol"]);
});

test("the number of ringing calls is bounded", async (t) => {
  const { inbox } = await connected(t);
  for (let i = 0; i < 60; i++) await inbox.hears(`stranger ${i}`, { type: "offer", session: "s", n: 1, sdp: "x" });
  assert.equal(inbox.take("bye").length, 10);
});

test("a caller who gives up makes room for another", async (t) => {
  const { inbox } = await connected(t);
  for (let i = 0; i < 50; i++) await inbox.hears(`stranger ${i}`, { type: "offer", session: "s", n: 1, sdp: "x" });
  await advance(61_000, 1000);
  inbox.take();
  const calls = collect(accept(inbox));
  await inbox.hears("carol", { type: "offer", session: "c", n: 1, sdp: "x" });
  assert.deepEqual(inbox.take(), []);
  assert.deepEqual(calls.items.map(({ from }) => from), ["carol"]);
});

test("several loops over calls share them", async (t) => {
  fakeCalls(t);
  const inbox = new FakeInbox("alice");
  const ends = new AbortController();
  const loops = [collect(accept(inbox)), collect(accept(inbox, { signal: ends.signal }))];
  await settle();
  await inbox.hears("a", { type: "offer", session: "1", n: 1, sdp: "x" });
  ends.abort();
  await loops[1].ended;
  await inbox.hears("b", { type: "offer", session: "2", n: 1, sdp: "x" });
  assert.equal(loops[0].items.length + loops[1].items.length, 2);
  assert.equal(inbox.loops, 1);
});

test("the number of byes to strangers on their way is bounded", async (t) => {
  const { inbox } = await ringing(t);
  let go;
  const held = new Promise((resolve) => (go = resolve));
  inbox.sends = () => held;
  for (let i = 0; i < 60; i++) await inbox.hears("mallory", { type: "answer", session: `s${i}`, n: 1, sdp: "x" });
  assert.equal(inbox.take("bye").length, 50);
  go();
  await settle();
  await inbox.hears("mallory", { type: "answer", session: "s", n: 1, sdp: "x" });
  assert.equal(inbox.take("bye").length, 1);
});

test("a signal goes to the calls even if an older loop takes all messages", async (t) => {
  const net = fakeNet(t);
  const inbox = new Inbox("https://example.com/inbox", { id: "alice", password: "secret", transports: ["poll"] });
  const texts = collect(inbox.messages());
  const calls = collect(accept(inbox));
  await (await net.request()).messages(
    ["c1", "a text"], ["c2", JSON.stringify({ type: "offer", session: "s", n: 1, sdp: "x" })], ["c3", '{"type":"offer"}'],
  );
  assert.deepEqual(texts.texts, ["a text", '{"type":"offer"}']);
  assert.deepEqual(calls.items.map(({ from }) => from), ["bob"]);
});
