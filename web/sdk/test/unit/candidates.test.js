/** Candidates in the forms that implementations send. An invalid one does not affect the others. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { InboxError } from "../../build/inbox.js";
import { answerTo, calling, connected } from "../support/calls.js";
import { advance } from "../support/net.js";

const REAL = "candidate:1 1 udp 2130706431 10.0.0.7 5000 typ host";

/** The end of candidates, as the browser gets it. */
const END = { candidate: "" };

/** Candidates as a peer sends them, and as the browser gets them. */
const FORMS = [
  ["null before", [null, { candidate: REAL, sdpMid: "0" }], [{ candidate: REAL, sdpMid: "0", sdpMLineIndex: null }, END]],
  ["an empty text before", [{ candidate: "" }, { candidate: REAL, sdpMid: "0" }], [{ candidate: REAL, sdpMid: "0", sdpMLineIndex: null }, END]],
  ["a null text before", [{ candidate: null, sdpMid: "0" }, { candidate: REAL, sdpMLineIndex: 1 }], [{ candidate: REAL, sdpMid: null, sdpMLineIndex: 1 }, END]],
  ["an object without a text", [{}, { candidate: REAL, sdpMid: "0" }], [{ candidate: REAL, sdpMid: "0", sdpMLineIndex: null }, END]],
  ["end-of-candidates as a line", ["a=end-of-candidates", { candidate: REAL, sdpMid: "0" }], [{ candidate: REAL, sdpMid: "0", sdpMLineIndex: null }, END]],
  ["end-of-candidates as a text", [{ candidate: "end-of-candidates" }], [END]],
  ["no place", [{ candidate: REAL }], [{ candidate: REAL, sdpMid: null, sdpMLineIndex: 0 }]],
  ["a place that is null", [{ candidate: REAL, sdpMid: null, sdpMLineIndex: null }], [{ candidate: REAL, sdpMid: null, sdpMLineIndex: 0 }]],
  ["an empty place", [{ candidate: REAL, sdpMid: "" }], [{ candidate: REAL, sdpMid: null, sdpMLineIndex: 0 }]],
  ["an empty place and an index", [{ candidate: REAL, sdpMid: "", sdpMLineIndex: 2 }], [{ candidate: REAL, sdpMid: null, sdpMLineIndex: 2 }]],
  ["a mere text", [REAL], [{ candidate: REAL, sdpMid: null, sdpMLineIndex: 0 }]],
  ["a line of a description", [`a=${REAL}\r\n`], [{ candidate: REAL, sdpMid: null, sdpMLineIndex: 0 }]],
  ["no list", { candidate: REAL, sdpMid: "0" }, [{ candidate: REAL, sdpMid: "0", sdpMLineIndex: null }]],
  ["no list, but null", null, []],
  ["nonsense before", [5, true, { candidate: 5 }, { candidate: {} }, { candidate: REAL, sdpMid: "0" }], [{ candidate: REAL, sdpMid: "0", sdpMLineIndex: null }]],
  ["one that the browser does not take before", [{ candidate: "unknown", sdpMid: "0" }, { candidate: REAL, sdpMid: "0" }], [{ candidate: REAL, sdpMid: "0", sdpMLineIndex: null }]],
];

for (const [what, candidates, given] of FORMS) {
  test(`candidates with ${what}`, async (t) => {
    const { inbox, offer, pc } = await calling(t);
    await inbox.hears("bob", answerTo(offer));
    await inbox.hears("bob", { type: "candidates", session: offer.session, candidates });
    assert.deepEqual(pc.given, given);
  });

  test(`candidates with ${what}, before their description`, async (t) => {
    const { inbox, offer, pc } = await calling(t);
    await inbox.hears("bob", { type: "candidates", session: offer.session, candidates });
    assert.deepEqual(pc.given, []);
    await inbox.hears("bob", answerTo(offer));
    assert.deepEqual(pc.given, given);
  });
}

/** Makes the server refuse signals with more characters than this. */
function bound(inbox, most) {
  inbox.sends = async (to, data) => {
    if (JSON.stringify(data).length > most) throw new InboxError("too-large", 413, "words");
  };
}

test("candidates that are too large together are sent in parts", async (t) => {
  const { inbox, pc } = await connected(t);
  bound(inbox, 300);
  const texts = Array.from({ length: 7 }, (_, i) => `${REAL} generation ${i}`);
  pc.gather(...texts);
  await advance(20, 10);
  const arrived = inbox.take("candidates").filter((signal) => JSON.stringify(signal).length <= 300);
  assert.deepEqual(arrived.flatMap(({ candidates }) => candidates.map(({ candidate }) => candidate)), texts);
});

test("candidates that the server refuses are reported once", async (t) => {
  const errors = [];
  const { inbox, pc } = await connected(t, { onerror: (error) => errors.push(error) });
  bound(inbox, 50);
  pc.gather(REAL, REAL, REAL);
  await advance(20, 10);
  pc.gather(REAL);
  await advance(20, 10);
  assert.deepEqual(errors.map(({ name, code }) => [name, code]), [["InboxError", "too-large"]]);
  assert.equal(pc.connectionState, "connected");
});
