/** Two peers call each other over a server that sometimes loses everything. They always get one connection. */

import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { accept, connect } from "../../build/inbox.js";
import { settle } from "../support/net.js";
import { FakeInbox, FakePeerConnection, fakeCalls, watch } from "../support/rtc.js";

const RUNS = Number(process.env.INBOX_RUNS ?? 150);

/** Reproducible random numbers: mulberry32. */
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Lets ICE find a path between two sides that have agreed. */
function ice() {
  const agreed = (a, b) =>
    a.signalingState === "stable" && a.connectionState !== "closed" && a.localDescription && a.localDescription.sdp === b.remoteDescription?.sdp;
  for (const a of FakePeerConnection.all) {
    for (const b of FakePeerConnection.all) {
      if (a !== b && agreed(a, b) && agreed(b, a) && a.connectionState !== "connected") a.becomes("connected");
    }
  }
}

test(`${RUNS} runs with random crashes, repeats and delays`, async (t) => {
  fakeCalls(t);
  const kinds = { glare: 0, plain: 0, crashes: 0 };
  for (let seed = 1; seed <= RUNS; seed++) {
    const draw = random(seed);
    FakePeerConnection.all = [];
    const inboxes = [new FakeInbox("alice"), new FakeInbox("bob")];
    // The messages in the server's inboxes, in order.
    const lying = [[], []];
    inboxes.forEach((inbox, side) => {
      inbox.sends = async (to, data) => {
        lying[1 - side].push(data);
        if (draw() < 0.1) lying[1 - side].push(data); // a duplicate, as after a lost answer
      };
    });
    const deliver = async (side) => {
      const data = lying[side].shift();
      if (data) await inboxes[side].hears(inboxes[1 - side].id, data);
    };
    const crash = async () => {
      kinds.crashes++;
      lying.forEach((lot) => lot.splice(0));
      for (const inbox of inboxes) inbox.reset?.();
      await settle();
    };

    const ends = new AbortController();
    const accepted = [];
    const accepts = [draw() < 0.6, draw() < 0.6];
    const callers = [0, 1].filter((side) => draw() < 0.7 || !accepts[1 - side]);
    if (callers.length === 0) callers.push(accepts[1] ? 0 : 1);
    for (const side of [0, 1]) {
      if (accepts[side]) {
        void (async () => {
          for await (const call of accept(inboxes[side], { signal: ends.signal })) accepted.push(watch(call.accept()));
        })();
      }
    }
    // If only one side calls, the other has to accept.
    if (callers.length === 1 && !accepts[1 - callers[0]]) callers.push(1 - callers[0]);
    kinds[callers.length === 2 ? "glare" : "plain"]++;
    const starts = callers.map(() => Math.floor(draw() * 2));
    const connecting = [];
    let crashes = draw() < 0.7 ? Math.ceil(draw() * 3) : 0;
    for (let step = 0; step < 400; step++) {
      callers.forEach((side, i) => {
        if (starts[i] === step) connecting.push(watch(connect(inboxes[side], inboxes[1 - side].id)));
      });
      await deliver(draw() < 0.5 ? 0 : 1);
      if (crashes && draw() < 0.08) {
        crashes--;
        await crash();
      }
      if (draw() < 0.5) mock.timers.tick(Math.floor(draw() * 400));
      await settle();
      ice();
      if (connecting.length === callers.length && connecting.every(({ state }) => state !== "pending") && !lying.flat().length) break;
    }
    const what = `seed ${seed}: callers ${callers}, accepts ${accepts}`;
    assert.deepEqual(connecting.map(({ state, error }) => error ?? state), callers.map(() => "done"), what);
    const open = FakePeerConnection.all.filter(({ connectionState }) => connectionState === "connected");
    // A side that calls after it was answered already has a connection. Another one is not glare.
    assert.equal(open.length, 2, `${what}: ${FakePeerConnection.all.map(({ connectionState }) => connectionState)}`);
    ends.abort();
    for (const pc of open) pc.close();
    await settle();
    mock.timers.tick(100_000);
    await settle();
  }
  t.diagnostic(JSON.stringify(kinds));
  assert.ok(kinds.glare > RUNS / 5 && kinds.plain > RUNS / 10 && kinds.crashes > RUNS / 2);
});
