/** How calls end, and which errors report it. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { CallError, InboxError, connect } from "../../build/inbox.js";
import { answerTo, answered, calling, connected, last, ringing } from "../support/calls.js";
import { advance, settle } from "../support/net.js";
import { FakeInbox, FakePeerConnection, fakeCalls, watch } from "../support/rtc.js";

for (const [bye, code, reason] of [
  [{ why: "rejected", reason: "busy" }, "rejected", "busy"],
  [{ why: "rejected" }, "rejected", undefined],
  [{ why: "ice-failed" }, "ice-failed", undefined],
  [{ why: "closed" }, "ended", undefined],
  [{ why: "no-answer" }, "ended", undefined],
  [{}, "ended", undefined],
  [{ why: "rejected", reason: { toString: "x" } }, "rejected", undefined],
  [{ why: "no-webrtc" }, "peer-failed", "no-webrtc"],
  [{ why: "setup-failed", reason: "words" }, "peer-failed", "setup-failed"],
]) {
  test(`a bye with ${JSON.stringify(bye)} is ${code}`, async (t) => {
    const { inbox, call, offer, pc } = await calling(t);
    await advance(20, 10);
    inbox.take();
    await inbox.hears("bob", { type: "bye", session: offer.session, ...bye });
    assert.ok(call.error instanceof CallError);
    assert.equal(call.error.code, code);
    assert.equal(call.error.reason, reason);
    assert.ok(pc.closed);
    await advance(20_000);
    assert.deepEqual(inbox.take(), []);
    assert.equal(inbox.loops, 0);
  });
}

test("a call to a peer without an inbox is no-such-peer", async (t) => {
  fakeCalls(t);
  const inbox = new FakeInbox("alice");
  inbox.sends = async () => {
    throw new InboxError("no-such-inbox", 404);
  };
  const call = watch(connect(inbox, "bob"));
  await settle();
  assert.equal(call.error.code, "no-such-peer");
  assert.equal(call.error.cause.code, "no-such-inbox");
  assert.deepEqual(inbox.take().map(({ type }) => type), ["offer"]);
  assert.equal(inbox.loops, 0);
});

test("a server that cannot be used ends a call before its first signal", async (t) => {
  fakeCalls(t);
  const inbox = new FakeInbox("alice");
  inbox.sends = async () => {
    throw new InboxError("unauthorized", 401);
  };
  const call = watch(connect(inbox, "bob"));
  await settle();
  assert.ok(call.error instanceof InboxError);
  assert.equal(call.error.code, "unauthorized");
});

test("a call without an answer is no-answer", async (t) => {
  const { inbox, call, pc } = await calling(t);
  await advance(29_900);
  assert.equal(call.state, "pending");
  await advance(200);
  assert.equal(call.error.code, "no-answer");
  assert.equal(call.error.tried.offers, 8);
  assert.ok(pc.closed);
  assert.deepEqual(inbox.take("bye").map(({ why }) => why), ["no-answer"]);
});

test("wait does not shorten the time for an answer", async (t) => {
  const { call } = await calling(t, { wait: 60_000, timeout: 5000 });
  await advance(64_900, 500);
  assert.equal(call.state, "pending");
  await advance(200);
  assert.equal(call.error.code, "no-answer");
});

test("an endless wait is possible", async (t) => {
  const { call } = await calling(t, { wait: Infinity });
  await advance(200_000, 4000);
  assert.equal(call.state, "pending");
});

test("a call with an answer but no path is ice-failed and reports what it tried", async (t) => {
  const { inbox, call, offer } = await calling(t, { timeout: 5000 });
  await advance(4900);
  await inbox.hears("bob", answerTo(offer));
  await inbox.hears("bob", { type: "candidates", session: offer.session, candidates: [{ candidate: "candidate:1 typ srflx" }] });
  await advance(4900);
  assert.equal(call.state, "pending");
  await advance(200);
  assert.equal(call.error.code, "ice-failed");
  assert.deepEqual(call.error.tried, { offers: 2, restarts: 0, local: ["host", "srflx"], remote: ["host", "srflx"], cause: "no-relay" });
  assert.equal(call.error.message, "There is no network path to the other side.");
});

test("failed ICE is restarted once before the call fails", async (t) => {
  const { inbox, call, offer, pc } = await calling(t);
  await inbox.hears("bob", answerTo(offer));
  inbox.take();
  pc.becomes("failed");
  await advance(1900);
  assert.equal(pc.restarts, 0);
  await advance(200);
  assert.equal(pc.restarts, 1);
  assert.deepEqual(inbox.take("offer").map(({ n }) => n), [2]);
  pc.becomes("connecting");
  pc.becomes("failed");
  await advance(2100);
  assert.equal(call.error.code, "ice-failed");
  assert.equal(call.error.tried.restarts, 1);
});

// A browser that may use only a relay fails after the other side's direct candidates, and
// continues when relay candidates arrive.
test("ICE that fails before the last candidates arrive gets more time", async (t) => {
  const { inbox, call, offer, pc } = await calling(t);
  await inbox.hears("bob", answerTo(offer));
  pc.becomes("failed");
  await advance(100);
  await inbox.hears("bob", { type: "candidates", session: offer.session, candidates: [{ candidate: "candidate:1 1 udp 1 198.51.100.1 1 typ relay", sdpMid: "0" }] });
  pc.becomes("connecting");
  pc.becomes("connected");
  await advance(10_000);
  assert.equal(call.value, pc);
  assert.equal(pc.restarts, 0);
});

test("an established connection that fails restarts ICE immediately", async (t) => {
  const { pc } = await connected(t);
  pc.becomes("failed");
  await advance(1, 1);
  await settle();
  assert.equal(pc.restarts, 1);
});

test("close sends one bye", async (t) => {
  const { inbox, offer, pc } = await connected(t);
  let told = 0;
  pc.addEventListener("connectionstatechange", () => told++);
  assert.equal(inbox.loops, 1);
  pc.close();
  pc.close();
  await settle();
  assert.deepEqual(inbox.take(), [{ type: "bye", session: offer.session, why: "closed" }]);
  assert.ok(pc.closed);
  assert.equal(told, 0);
  assert.equal(inbox.loops, 0);
});

test("a bye closes the connection and fires connectionstatechange", async (t) => {
  const { inbox, offer, pc } = await connected(t);
  const states = [];
  pc.addEventListener("connectionstatechange", () => states.push(pc.connectionState));
  await inbox.hears("bob", { type: "bye", session: offer.session, why: "closed" });
  assert.deepEqual(states, ["closed"]);
  assert.deepEqual(inbox.take(), []);
});

/** The reason with which a call of either side ended. */
for (const [side, begin] of [["the caller", connected], ["the one who is called", answered]]) {
  const end = (pc) => watch(pc.ended);
  const session = ({ offer }) => offer.session;

  test(`${side}: ended is closed if this side closes the call`, async (t) => {
    const { pc } = await begin(t);
    const ended = end(pc);
    await advance(60_000, 1000);
    assert.equal(ended.state, "pending");
    pc.close();
    await settle();
    assert.ok(ended.value instanceof CallError);
    assert.equal(ended.value.code, "closed");
  });

  test(`${side}: ended is ended if the other side closes the call`, async (t) => {
    const all = await begin(t);
    const ended = end(all.pc);
    let state;
    all.pc.addEventListener("connectionstatechange", () => (state = ended.state));
    await all.inbox.hears("bob", { type: "bye", session: session(all), why: "closed", reason: "good night" });
    assert.deepEqual([ended.value.code, ended.value.reason], ["ended", "good night"]);
    assert.equal(state, "pending");
  });

  test(`${side}: ended is ice-failed if the connection is lost for good`, async (t) => {
    const { pc } = await begin(t);
    const ended = end(pc);
    pc.becomes("disconnected");
    await advance(30_000, 1000);
    pc.becomes("connected");
    await advance(60_000, 1000);
    assert.equal(ended.state, "pending");
    pc.becomes("failed");
    await advance(61_000, 1000);
    assert.equal(ended.value.code, "ice-failed");
    assert.equal(ended.value.cause, undefined);
    assert.ok(ended.value.tried.restarts > 0);
  });

  test(`${side}: the cause of ice-failed is why the inbox no longer received`, async (t) => {
    const { inbox, pc } = await begin(t);
    const ended = end(pc);
    await inbox.hears(new InboxError("replaced", 409));
    await advance(60_000, 1000);
    assert.equal(ended.state, "pending");
    pc.becomes("failed");
    await advance(61_000, 1000);
    assert.equal(ended.value.code, "ice-failed");
    assert.equal(ended.value.cause.code, "replaced");
  });
}

test("an inbox that receives again is not the cause of an end", async (t) => {
  const { inbox, pc } = await connected(t);
  await inbox.hears(new InboxError("replaced", 409));
  void watch(connect(inbox, "carol"));
  await settle();
  const ended = watch(pc.ended);
  pc.becomes("failed");
  await advance(61_000, 1000);
  assert.equal(ended.value.code, "ice-failed");
  assert.equal(ended.value.cause, undefined);
});

test("the bye is sent before the connection is closed, by a request that outlives the page", async (t) => {
  const page = fakeCalls(t);
  const inbox = new FakeInbox("alice");
  /** How many signals had been sent when a connection was closed. */
  const said = [];
  const { close } = FakePeerConnection.prototype;
  t.mock.method(FakePeerConnection.prototype, "close", function () {
    said.push(inbox.sent.length);
    close.call(this);
  });
  for (const peer of ["bob", "carol"]) {
    void watch(connect(inbox, peer));
    await settle();
    await inbox.hears(peer, answerTo(inbox.take("offer")[0]));
    last().becomes("connected");
    await advance(20, 10);
    inbox.take();
  }
  page.fire("pagehide");
  assert.deepEqual(inbox.sent.map(({ to, data, last }) => [to, data.type, last]), [["bob", "bye", true], ["carol", "bye", true]]);
  assert.deepEqual(said, [1, 2]);
});

test("a page that is left sends a bye to every peer", async (t) => {
  const { page, inbox, offer } = await connected(t);
  void watch(connect(inbox, "carol"));
  await settle();
  inbox.take();
  page.fire("pagehide");
  assert.deepEqual(inbox.sent.map(({ to, data }) => [to, data.type, data.why]), [["bob", "bye", "closed"], ["carol", "bye", "closed"]]);
  void offer;
});

test("an abort ends a call at every step before it is connected", async (t) => {
  for (const step of ["before", "servers", "setup", "offered", "answered"]) {
    await t.test(step, async (t) => {
      fakeCalls(t);
      const inbox = new FakeInbox("alice");
      const ends = new AbortController();
      if (step === "before") ends.abort("enough");
      const call = watch(connect(inbox, "bob", {
        signal: ends.signal,
        iceServers: () => (step === "servers" ? new Promise(() => {}) : []),
        setup: () => (step === "setup" ? new Promise(() => {}) : undefined),
      }));
      await settle();
      const offer = inbox.sent[0]?.data;
      if (step === "answered") await inbox.hears("bob", answerTo(offer));
      ends.abort("enough");
      await settle();
      assert.equal(call.error, "enough");
      assert.equal(inbox.loops, 0);
      assert.ok(last()?.closed ?? true);
      inbox.take();
      await advance(60_000, 1000);
      assert.deepEqual(inbox.take(), []);
    });
  }
});

test("an abort does not end an established connection", async (t) => {
  const ends = new AbortController();
  const { pc } = await connected(t, { signal: ends.signal });
  ends.abort();
  await settle();
  assert.ok(!pc.closed);
});

for (const [what, options, message] of [
  ["iceServers that rejects", { iceServers: () => Promise.reject(new Error("no servers")) }, "no servers"],
  ["iceServers that throws", { iceServers: () => { throw new TypeError("no list"); } }, "no list"],
  ["setup that throws", { setup: () => { throw new Error("no camera"); } }, "no camera"],
  ["setup that rejects", { setup: () => Promise.reject(new InboxError("unauthorized", 401, "words")) }, "words"],
  ["a configuration that the browser refuses", { configuration: { refused: true } }, "refused"],
]) {
  test(`${what} ends the caller's attempt with setup-failed before the first signal`, async (t) => {
    fakeCalls(t);
    refuseConfiguration(t);
    const inbox = new FakeInbox("alice");
    const call = watch(connect(inbox, "bob", options));
    await settle();
    assert.ok(call.error instanceof CallError);
    assert.equal(call.error.code, "setup-failed");
    assert.equal(call.error.cause.message, message);
    assert.equal(call.error.message, `This side could not set up the connection: ${message}`);
    assert.ok(last()?.closed ?? true);
    assert.deepEqual(inbox.sent, []);
    assert.equal(inbox.loops, 0);
  });

  test(`${what} ends the callee's attempt with setup-failed, and the caller gets the error immediately`, async (t) => {
    const { inbox, call } = await ringing(t);
    refuseConfiguration(t);
    const accepted = watch(call.accept(options));
    await settle();
    assert.equal(accepted.error.code, "setup-failed");
    assert.equal(accepted.error.cause.message, message);
    assert.deepEqual(inbox.take(), [{ type: "bye", session: "s", why: "setup-failed" }]);
  });
}

/** Refuses a configuration, as browsers do with invalid ICE servers. */
function refuseConfiguration(t) {
  globalThis.RTCPeerConnection = class extends FakePeerConnection {
    constructor(configuration) {
      if (configuration?.refused) throw new SyntaxError("refused");
      super(configuration);
    }
  };
}

for (const [what, value] of [
  ["is missing, as in Node", undefined],
  ["is null", null],
  ["throws", class { constructor() { throw new Error("blocked"); } }],
  ["is not a constructor", {}],
]) {
  test(`an RTCPeerConnection that ${what} is no-webrtc for the caller`, async (t) => {
    fakeCalls(t);
    globalThis.RTCPeerConnection = value;
    const inbox = new FakeInbox("alice");
    let asked = 0;
    const call = watch(connect(inbox, "bob", { iceServers: () => (asked++, []) }));
    await settle();
    assert.ok(call.error instanceof CallError);
    assert.equal(call.error.code, "no-webrtc");
    assert.equal(call.error.message, "This browser has no WebRTC.");
    assert.deepEqual(inbox.sent, []);
    assert.equal(inbox.loops, 0);
    if (!value) assert.equal(asked, 0);
  });

  test(`an RTCPeerConnection that ${what} is no-webrtc for the callee, and the caller gets the error immediately`, async (t) => {
    const { inbox, call } = await ringing(t);
    globalThis.RTCPeerConnection = value;
    const accepted = watch(call.accept());
    await settle();
    assert.equal(accepted.error.code, "no-webrtc");
    assert.deepEqual(inbox.take(), [{ type: "bye", session: "s", why: "no-webrtc" }]);
  });
}

test("a peer that calls itself gets own-id immediately", async (t) => {
  fakeCalls(t);
  const inbox = new FakeInbox("alice");
  const call = watch(connect(inbox, "alice"));
  await settle();
  assert.ok(call.error instanceof CallError);
  assert.equal(call.error.code, "own-id");
  assert.equal(call.error.message, "A peer cannot call itself.");
  assert.deepEqual(inbox.sent, []);
  assert.equal(inbox.loops, 0);
});

test("the message of an error is a sentence, and fields hold the details", async (t) => {
  const { inbox, call, offer } = await calling(t);
  await inbox.hears("bob", { type: "bye", session: offer.session, why: "rejected", reason: "busy until five" });
  assert.equal(call.error.message, "The other side declined the call: busy until five");
  assert.equal(call.error.reason, "busy until five");
  assert.equal(call.error.tried.offers, 1);
});
