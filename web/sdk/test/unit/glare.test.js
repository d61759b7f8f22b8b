/** Both sides call at once, or one calls again: they get one connection. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { accept, connect } from "../../build/inbox.js";
import { answerTo, answered, calling, connected, last, ringing } from "../support/calls.js";
import { advance, settle } from "../support/net.js";
import { FakeInbox, FakePeerConnection, fakeCalls, watch } from "../support/rtc.js";

for (const [name, mine] of [["wins", "0"], ["loses", "z"]]) {
  test(`both call at once: the one whose session ${name}`, async (t) => {
    const { inbox, call, offer, pc } = await calling(t);
    await advance(20, 10);
    inbox.take();
    const theirs = { type: "offer", session: mine === "0" ? "zzz" : "000", n: 1, sdp: "their offer" };
    await inbox.hears("bob", theirs);
    await advance(20, 10);
    const said = inbox.take();
    if (mine === "0") {
      assert.deepEqual(said, []);
      assert.equal(pc.signalingState, "have-local-offer");
      await inbox.hears("bob", { ...answerTo(offer), replaces: "zzz" });
    } else {
      const [answer] = said;
      assert.deepEqual([answer.type, answer.session, answer.n, answer.replaces], ["answer", "000", 1, offer.session]);
      assert.ok(pc.rolledBack);
      // The candidates of the dropped offer are gone, and those of the answer were sent.
      assert.deepEqual(said.filter(({ type }) => type === "candidates").map(({ session }) => session), ["000"]);
    }
    assert.equal(pc.signalingState, mine === "0" ? "stable" : "have-local-offer");
    pc.becomes("connected");
    await settle();
    assert.equal(call.value, pc);
    assert.equal(FakePeerConnection.all.length, 1);
    // The call that lost sends nothing more.
    inbox.take();
    await inbox.hears("bob", mine === "0" ? theirs : { ...answerTo(offer), session: offer.session });
    await inbox.hears("bob", { type: "bye", session: mine === "0" ? "zzz" : offer.session });
    assert.deepEqual(inbox.take("bye"), []);
    assert.equal(call.state, "done");
    assert.ok(!pc.closed);
  });
}

test("a call that loses is no longer sent, even if it had not arrived", async (t) => {
  fakeCalls(t);
  const inbox = new FakeInbox("alice");
  const pending = [];
  inbox.sends = (to, data, signal) =>
    data.type !== "offer" ? Promise.resolve() : new Promise((resolve, reject) => {
      pending.push(signal);
      signal.addEventListener("abort", () => reject(signal.reason));
    });
  const call = watch(connect(inbox, "bob", { wait: 60_000 }));
  await settle();
  assert.equal(inbox.sent[0].wait, 60_000);
  await inbox.hears("bob", { type: "offer", session: "000", n: 1, sdp: "their offer" });
  await advance(20, 10);
  assert.ok(pending[0].aborted);
  assert.deepEqual(inbox.take("answer").map(({ session }) => session), ["000"]);
  last().becomes("connected");
  await settle();
  assert.equal(call.state, "done");
});

test("calling a peer who rings answers the call", async (t) => {
  const { inbox, call } = await ringing(t);
  const connecting = watch(connect(inbox, "bob", { setup: (pc) => void (pc.mine = true) }));
  const accepted = watch(call.accept());
  await settle();
  assert.deepEqual(inbox.take().map(({ type, session }) => [type, session]), [["answer", "s"]]);
  last().becomes("connected");
  await settle();
  assert.equal(connecting.value, last());
  assert.equal(accepted.value, last());
  assert.ok(last().mine);
});

test("calling a peer whose call was just accepted returns its connection", async (t) => {
  const { inbox, call } = await ringing(t);
  void call.accept();
  await settle();
  const connecting = watch(connect(inbox, "bob", { setup: (pc) => void (pc.mine = true) }));
  await settle();
  assert.equal(FakePeerConnection.all.length, 1);
  last().becomes("connected");
  await settle();
  assert.equal(connecting.value, last());
  assert.ok(last().mine);
});

test("a second call to the same peer waits for the first", async (t) => {
  const { inbox, offer, pc } = await calling(t);
  const second = watch(connect(inbox, "bob"));
  const ends = new AbortController();
  const third = watch(connect(inbox, "bob", { signal: ends.signal }));
  const other = watch(connect(inbox, "carol"));
  await advance(20, 10);
  assert.deepEqual(inbox.sent.filter(({ data }) => data.type === "offer").map(({ to }) => to), ["carol"]);
  ends.abort();
  await settle();
  assert.equal(third.error.name, "AbortError");
  inbox.take();
  await inbox.hears("bob", answerTo(offer));
  pc.becomes("connected");
  await settle();
  const [next] = inbox.take("offer");
  assert.notEqual(next.session, offer.session);
  assert.equal(second.state, "pending");
  assert.equal(other.state, "pending");
});

test("a peer that lost to a call which failed before its first offer gets a bye", async (t) => {
  fakeCalls(t);
  const inbox = new FakeInbox("alice");
  let fail;
  const call = watch(connect(inbox, "bob", { setup: () => new Promise((_, reject) => (fail = reject)) }));
  await settle();
  const theirs = { type: "offer", session: "zzz", n: 1, sdp: "their offer" };
  await inbox.hears("bob", theirs);
  assert.deepEqual(inbox.take(), []);
  fail(new Error("no camera"));
  await settle();
  assert.equal(call.error.code, "setup-failed");
  const other = watch(connect(inbox, "carol"));
  await settle();
  inbox.take();
  await inbox.hears("bob", theirs);
  assert.deepEqual(inbox.take(), [{ type: "bye", session: "zzz", why: "setup-failed" }]);
  assert.equal(other.state, "pending");
});
