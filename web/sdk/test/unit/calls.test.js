/** The signals of a call, and what happens when they are lost, late or invalid. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { InboxError, accept, connect } from "../../build/inbox.js";
import { answerTo, answered, calling, connected, last, ringing } from "../support/calls.js";
import { advance, settle } from "../support/net.js";
import { watch } from "../support/rtc.js";

test("the caller makes an offer and sends its candidates in few messages", async (t) => {
  const { inbox, call, offer, pc } = await calling(t);
  assert.deepEqual({ ...offer, session: "" }, { type: "offer", n: 1, sdp: `${pc.id} offers 1`, session: "" });
  assert.match(offer.session, /^[0-9a-z]{26}$/);
  // There was nothing to negotiate, so the SDK adds a data channel.
  assert.deepEqual(pc.channel, { label: "", negotiated: true, id: 1023 });
  await advance(20, 10);
  const [candidates, ...others] = inbox.take();
  assert.deepEqual(others, []);
  assert.equal(candidates.type, "candidates");
  assert.deepEqual(candidates.candidates.map(({ candidate }) => candidate.split(" typ ")[1] ?? candidate), ["host", "srflx", ""]);
  assert.equal(call.state, "pending");
  await inbox.hears("bob", answerTo(offer));
  assert.equal(call.state, "pending");
  pc.becomes("connected");
  await settle();
  assert.equal(call.value, pc);
});

test("setup runs before the first signal", async (t) => {
  let go;
  const { inbox, offer, pc } = await calling(t, {
    iceServers: async () => [{ urls: "stun:example.com" }],
    configuration: { bundlePolicy: "max-bundle" },
    async setup(pc) {
      pc.createDataChannel("mine");
      await new Promise((resolve) => (go = resolve));
    },
  });
  assert.equal(offer, undefined);
  assert.deepEqual(pc.configuration, { bundlePolicy: "max-bundle", iceServers: [{ urls: "stun:example.com" }] });
  go();
  await settle();
  assert.equal(pc.channel.label, "mine");
  assert.deepEqual(inbox.take().map(({ type, n }) => [type, n]), [["offer", 1]]);
});

test("an unanswered offer is repeated unchanged, and the candidates since then are sent", async (t) => {
  const { inbox, offer, pc } = await calling(t);
  await advance(20, 10);
  inbox.take();
  pc.localDescription = { type: "offer", sdp: `${offer.sdp} with candidates` };
  await advance(4000);
  assert.deepEqual(inbox.take(), [{ ...offer, sdp: `${offer.sdp} with candidates` }]);
  await advance(4000);
  const [again] = inbox.take();
  await inbox.hears("bob", answerTo(again));
  await advance(20_000);
  assert.deepEqual(inbox.take(), []);
});

test("an answer to another offer is ignored, and a repeated answer is harmless", async (t) => {
  const { inbox, offer, pc } = await connected(t);
  pc.restartIce();
  await settle();
  const [again] = inbox.take("offer");
  assert.deepEqual([again.session, again.n], [offer.session, 2]);
  await inbox.hears("bob", answerTo(offer));
  assert.equal(pc.signalingState, "have-local-offer");
  await inbox.hears("bob", answerTo(again));
  assert.equal(pc.signalingState, "stable");
  await inbox.hears("bob", answerTo(again));
  assert.equal(pc.signalingState, "stable");
});

test("early candidates wait for their description", async (t) => {
  const { inbox, offer, pc } = await calling(t);
  const { session } = offer;
  await inbox.hears("bob", { type: "candidates", session, candidates: [{ candidate: "1 typ host" }, { candidate: "2 typ relay" }] });
  assert.deepEqual(pc.added, []);
  await inbox.hears("bob", answerTo(offer));
  await inbox.hears("bob", { type: "candidates", session, candidates: [{ candidate: "" }] });
  assert.deepEqual(pc.added, ["1 typ host", "2 typ relay", ""]);
});

test("of an unknown session only a first offer is accepted, and only answers get a bye", async (t) => {
  const { inbox, calls } = await ringing(t);
  for (const [signal, says] of [
    [{ type: "answer", n: 1, sdp: "x" }, true],
    [{ type: "offer", n: 2, sdp: "x" }, true],
    [{ type: "offer", n: 0, sdp: "x" }, true],
    [{ type: "offer", sdp: "x" }, true],
    [{ type: "candidates", candidates: [] }, false],
    [{ type: "bye" }, false],
  ]) {
    await inbox.hears("carol", { ...signal, session: "other" });
    assert.deepEqual(inbox.take(), says ? [{ type: "bye", session: "other", why: "ended" }] : []);
  }
  assert.equal(calls.items.length, 1);
});

test("another peer cannot interfere with a call", async (t) => {
  const { inbox, call, offer, pc } = await calling(t);
  await inbox.hears("mallory", answerTo(offer));
  await inbox.hears("mallory", { type: "bye", session: offer.session });
  await inbox.hears("mallory", { type: "candidates", session: offer.session, candidates: [{ candidate: "evil" }] });
  await inbox.hears("mallory", { type: "answer", session: "x", n: 1, sdp: "", replaces: offer.session });
  await inbox.hears("the rest of bob", { type: "bye", session: offer.session });
  assert.equal(pc.signalingState, "have-local-offer");
  assert.equal(call.state, "pending");
});

test("invalid signals are ignored", async (t) => {
  const { inbox, call, offer, pc } = await connected(t);
  const { session } = offer;
  for (const signal of [
    null, 5, "x", [], {}, { session }, { type: "offer" }, { session: 5, type: "offer" }, { session: "x".repeat(65), type: "offer", n: 1 },
    { session: "x", type: "offer", n: 1, replaces: "x".repeat(65) }, { session: "x", type: "offer", n: 1, replaces: [session] },
    { session, type: "nothing" }, { session, type: "offer" }, { session, type: "offer", n: 7 }, { session, type: "offer", n: "8", sdp: {} },
    { session, type: "answer", n: 1 }, { session, type: "candidates" }, { session, type: "candidates", candidates: 5 },
    { session, type: "candidates", candidates: [null, 5, {}, { candidate: 5 }] }, { session: "new", type: "offer", n: 1 },
  ]) await inbox.hears("bob", signal);
  assert.equal(call.state, "done");
  // The call continues as before.
  await inbox.hears("bob", { session, type: "offer", n: 9, sdp: "sound" });
  assert.deepEqual(inbox.take("answer").map(({ n }) => n), [9]);
  assert.equal(pc.signalingState, "stable");
});

test("after a reset the caller repeats the signals that may have been lost", async (t) => {
  const { inbox, offer, pc } = await calling(t);
  await advance(20, 10);
  const [candidates] = inbox.take("candidates");
  inbox.reset();
  await settle();
  assert.deepEqual(inbox.take(), [offer, candidates]);
  await inbox.hears("bob", answerTo(offer));
  inbox.reset();
  await settle();
  assert.deepEqual(inbox.take().map(({ type, n }) => [type, n]), [["offer", 1], ["candidates", undefined]]);
  pc.becomes("connected");
  await settle();
  inbox.reset();
  await settle();
  assert.deepEqual(inbox.take(), []);
});

test("after a reset the callee repeats its answer", async (t) => {
  const { inbox, call } = await ringing(t);
  void call.accept();
  await advance(20, 10);
  const said = inbox.take();
  inbox.reset();
  await settle();
  assert.deepEqual(inbox.take(), said);
});

test("an offer whose send failed is repeated", async (t) => {
  const { inbox, offer, pc, call } = await connected(t);
  inbox.sends = async () => {
    throw new InboxError("no-such-inbox", 404);
  };
  pc.restartIce();
  await settle();
  assert.equal(inbox.sent[0].wait, 30_000);
  inbox.sends = async () => {};
  await advance(4000);
  const again = inbox.take("offer").at(-1);
  assert.ok(again.n > 1);
  await inbox.hears("bob", { ...answerTo(again), session: offer.session });
  assert.equal(pc.signalingState, "stable");
  assert.equal(call.state, "done");
});

test("a connection that is established before the answer is handled stays", async (t) => {
  const { inbox, call, offer, pc } = await calling(t);
  await inbox.hears("bob", { type: "candidates", session: offer.session, candidates: [{ candidate: "1 typ host" }] });
  let go;
  pc.addIceCandidate = () => new Promise((resolve) => (go = resolve));
  await inbox.hears("bob", answerTo(offer));
  pc.becomes("connected");
  await settle();
  go();
  await advance(90_000, 1000);
  assert.equal(call.state, "done");
  assert.ok(!pc.closed);
});

test("a short interruption recovers by itself, and a longer one restarts ICE", async (t) => {
  const { pc, call } = await connected(t);
  pc.becomes("disconnected");
  await advance(3900);
  pc.becomes("connected");
  await advance(10_000);
  assert.equal(pc.restarts, 0);
  pc.becomes("disconnected");
  await advance(4100);
  assert.equal(pc.restarts, 1);
  pc.becomes("connected");
  pc.becomes("failed");
  await advance(10, 10);
  assert.equal(pc.restarts, 2);
  assert.equal(call.state, "done");
});

test("the callee leaves the ICE restart to the caller for a while", async (t) => {
  const { pc } = await answered(t);
  pc.becomes("failed");
  await advance(1900);
  assert.equal(pc.restarts, 0);
  await advance(200);
  assert.equal(pc.restarts, 1);
  pc.becomes("connected");
  pc.becomes("disconnected");
  await advance(5900);
  assert.equal(pc.restarts, 1);
  await advance(200);
  assert.equal(pc.restarts, 2);
});

test("a connection that is lost for a minute is closed and fires connectionstatechange", async (t) => {
  const { inbox, pc } = await connected(t);
  const states = [];
  pc.addEventListener("connectionstatechange", () => states.push(pc.connectionState));
  pc.becomes("disconnected");
  for (let i = 0; i < 3; i++) {
    await advance(15_000, 500);
    pc.becomes("failed");
  }
  await advance(14_500, 500);
  assert.ok(!pc.closed);
  await advance(1000);
  assert.ok(pc.closed);
  assert.equal(states.at(-1), "closed");
  assert.deepEqual(inbox.take("bye").map(({ why }) => why), ["ice-failed"]);
  assert.equal(inbox.loops, 0);
});

test("an ICE restart fetches ICE servers again, within a time limit", async (t) => {
  let fetched = 0;
  let next = () => Promise.resolve([{ urls: `turn:${++fetched}.example.com` }]);
  const { pc, page } = await connected(t, { iceServers: () => next(), configuration: { bundlePolicy: "max-bundle" } });
  page.fire("online");
  await settle();
  assert.equal(pc.restarts, 1);
  assert.deepEqual(pc.configuration, { bundlePolicy: "max-bundle", iceServers: [{ urls: "turn:2.example.com" }] });
  next = () => { throw new Error("away"); };
  pc.becomes("failed");
  await advance(10, 10);
  assert.equal(pc.restarts, 2);
  pc.becomes("connected");
  next = () => new Promise(() => {});
  page.fire("online");
  await advance(4900);
  assert.equal(pc.restarts, 2);
  await advance(200);
  assert.equal(pc.restarts, 3);
  assert.deepEqual(pc.configuration.iceServers, [{ urls: "turn:2.example.com" }]);
});

test("a change of network restarts ICE of an established connection immediately", async (t) => {
  const { page, inbox, pc } = await connected(t);
  void watch(connect(inbox, "carol"));
  await settle();
  page.fire("online");
  page.fire("offline");
  await settle();
  assert.equal(pc.restarts, 1);
  assert.equal(last().restarts, 0);
});

test("signals before the connection is set up are kept, up to a bound", async (t) => {
  let go;
  const { inbox, offer, pc } = await calling(t, { setup: () => new Promise((resolve) => (go = resolve)) });
  assert.equal(offer, undefined);
  await advance(20, 10);
  const theirs = { type: "offer", session: "000", n: 1, sdp: "their offer" };
  await inbox.hears("bob", theirs);
  for (let i = 0; i < 150; i++) await inbox.hears("bob", { type: "candidates", session: "000", candidates: [{ candidate: `${i} typ host` }] });
  go();
  await advance(600, 10);
  assert.equal(pc.signalingState, "stable");
  // The offer counts as the first of them.
  assert.deepEqual(pc.added, Array.from({ length: 99 }, (_, i) => `${i} typ host`));
  // The queue has room again.
  await inbox.hears("bob", { type: "candidates", session: "000", candidates: [{ candidate: "late typ host" }] });
  assert.equal(pc.added.at(-1), "late typ host");
});

test("early candidates are kept up to a bound, and only known types of candidates are recorded", async (t) => {
  const { inbox, call, offer, pc } = await calling(t, { timeout: 1000 });
  const candidates = Array.from({ length: 1000 }, (_, i) => ({ candidate: `${i} typ nonsense${i}` }));
  await inbox.hears("bob", { type: "candidates", session: offer.session, candidates });
  await inbox.hears("bob", answerTo(offer));
  assert.equal(pc.added.length, 200);
  await advance(1100);
  assert.deepEqual(call.error.tried.remote, ["host"]);
});

for (const [local, remote, role] of [
  ["offer a=setup:actpass", "answer a=setup:active", "passive"],
  ["offer a=setup:actpass", "answer a=setup:passive", "active"],
  ["answer a=setup:active", "offer a=setup:actpass", "active"],
  ["answer a=setup:passive", "offer a=setup:active", "passive"],
  ["offer", "answer", "actpass"],
]) {
  test(`the DTLS role stays the same: after ${local} and ${remote}`, async (t) => {
    const { inbox, pc } = await connected(t);
    const { createOffer } = pc;
    pc.createOffer = async () => {
      const { sdp } = await createOffer.call(pc);
      return { type: "offer", sdp: `${sdp} a=setup:actpass m=audio a=setup:actpass` };
    };
    Object.assign(pc, { currentLocalDescription: { sdp: local }, currentRemoteDescription: { sdp: remote } });
    pc.restartIce();
    await settle();
    const [{ sdp }] = inbox.take("offer");
    assert.equal(sdp.slice(sdp.indexOf(" a=")), ` a=setup:${role} m=audio a=setup:${role}`);
  });
}
