/** Scenarios with unusual signals, for the tests of each browser. */

import assert from "node:assert/strict";

/** Entries that a peer may send before a candidate. */
export const FORMS = [
  ["null", [null]],
  ["an empty text", [{ candidate: "", sdpMid: "0", sdpMLineIndex: 0 }]],
  ["a null text", [{ candidate: null }]],
  ["nonsense", [5, "nonsense", {}, { candidate: "candidate:nonsense" }, { candidate: "candidate:1 1 udp 1 10.0.0.1 9 typ host", sdpMid: "unknown" }]],
  ["an end", ["a=end-of-candidates", { candidate: "end-of-candidates" }]],
];

export async function badCandidates(alice, bob, url, round, entries) {
  const [a, b] = [`alice ${round}`, `bob ${round}`];
  await bob.evaluate(async ([url, b, entries]) => {
    globalThis.inbox = openInbox(url, b);
    answerAsOther(inbox, entries).catch(() => {});
    await until(() => inbox.transport);
  }, [url, b, entries]);
  const heard = await alice.evaluate(async ([url, a, b]) => {
    globalThis.inbox = openInbox(url, a);
    // Without the relay: if it refused a peer, a side would restart ICE, and the other side
    // answers only one offer.
    globalThis.pc = await connect(inbox, b, { timeout: 20_000, iceServers: [] });
    return talk(pc);
  }, [url, a, b]);
  assert.equal(heard, `${b} heard hello`);
}

export async function tooLarge(alice, bob, url, round, side) {
  const [a, b] = [`alice ${round}`, `bob ${round}`];
  await bob.evaluate(async ([url, b]) => {
    globalThis.errors = [];
    globalThis.inbox = openInbox(url, b);
    await answerAll(inbox, { onerror: (error) => errors.push(error) });
  }, [url, b]);
  await alice.evaluate(async ([url, a, b]) => {
    globalThis.errors = [];
    globalThis.inbox = openInbox(url, a);
    globalThis.pc = await connect(inbox, b, { onerror: (error) => errors.push(error) });
  }, [url, a, b]);
  await bob.evaluate(async () => (globalThis.pc = await until(() => inbox.connections[0])));
  const [mine, theirs] = side === "caller" ? [alice, bob] : [bob, alice];
  const told = await mine.evaluate(async () => {
    globalThis.change = await changeTooMuch(pc, errors);
    return change.told;
  });
  assert.deepEqual(told, { name: "InboxError", code: "too-large", status: 413 });
  // The other side can still negotiate.
  await theirs.evaluate(async () => {
    const before = ufrag(pc);
    pc.restartIce();
    await until(() => pc.signalingState === "stable" && ufrag(pc) !== before && pc.connectionState === "connected");
  });
  // Long enough for an offer to be repeated.
  await mine.evaluate(() => new Promise((resolve) => setTimeout(resolve, 5000)));
  assert.deepEqual(await mine.evaluate(() => [errors.length, pc.signalingState, pc.connectionState]), [1, "stable", "connected"]);
  // This side can negotiate too, once the change is small enough.
  assert.equal(await mine.evaluate(async () => {
    change.shrink();
    await until(() => change.added[0].mid !== null && pc.signalingState === "stable");
    return pc.connectionState;
  }), "connected");
  assert.deepEqual(await theirs.evaluate(() => errors.map(({ code }) => code)), []);
}
