/** The server refuses a later signal: the SDK reports it once, and the connection continues. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { CallError, InboxError } from "../../build/inbox.js";
import { answerTo, answered, connected } from "../support/calls.js";
import { advance, settle } from "../support/net.js";

/** A connected call of either side, with an onerror. */
async function begin(t, side) {
  const errors = [];
  const all = await (side === "caller" ? connected(t, { onerror: (error) => errors.push(error) }) : answered(t, { onerror: (error) => errors.push(error) }));
  all.pc.sections = true;
  return { ...all, errors };
}

/** Makes the server refuse signals of one type. */
function refuse(inbox, type, code = "too-large", status = 413) {
  inbox.sends = async (to, data) => {
    if (data.type === type) throw new InboxError(code, status, "words");
  };
}

for (const side of ["caller", "answerer"]) {
  test(`the ${side}'s offer that is refused is rolled back, reported once, and not repeated`, async (t) => {
    const { inbox, offer, pc, errors } = await begin(t, side);
    refuse(inbox, "offer");
    pc.createDataChannel("more");
    await settle();
    assert.deepEqual(errors.map(({ name, code, status }) => [name, code, status]), [["InboxError", "too-large", 413]]);
    assert.equal(pc.signalingState, "stable");
    await advance(60_000, 1000);
    assert.equal(errors.length, 1);
    assert.equal(inbox.take("offer").length, 1);
    // Negotiations of the other side complete.
    await inbox.hears("bob", { type: "offer", session: offer.session, n: 20, sdp: "theirs" });
    assert.deepEqual(inbox.take("answer").map(({ n }) => n), [20]);
    assert.equal(pc.signalingState, "stable");
    await advance(60_000, 1000);
    assert.equal(errors.length, 1);
    // Our own complete too, once the application has changed its request.
    inbox.sends = async () => {};
    inbox.take();
    pc.createDataChannel("other");
    await advance(4000);
    const [again] = inbox.take("offer");
    await inbox.hears("bob", answerTo(again));
    assert.equal(pc.signalingState, "stable");
    assert.equal(errors.length, 1);
    assert.equal(pc.connectionState, "connected");
  });

  test(`another change of the ${side} that is refused is reported, too`, async (t) => {
    const { inbox, pc, errors } = await begin(t, side);
    refuse(inbox, "offer");
    pc.createDataChannel("more");
    await settle();
    pc.createDataChannel("still more");
    await advance(8000);
    assert.equal(errors.length, 2);
    assert.equal(pc.signalingState, "stable");
  });

  test(`an answer of the ${side} that is refused is reported once, on both sides, and its offer has no effect`, async (t) => {
    const { inbox, offer, pc, errors } = await begin(t, side);
    const before = pc.remoteDescription;
    inbox.sends = async (to, data) => {
      if (data.sdp) throw new InboxError("too-large", 413, "words");
    };
    const theirs = { type: "offer", session: offer.session, n: 20, sdp: "theirs" };
    await inbox.hears("bob", theirs);
    assert.deepEqual(errors.map(({ code }) => code), ["too-large"]);
    assert.equal(pc.signalingState, "stable");
    assert.equal(pc.remoteDescription, before);
    assert.deepEqual(inbox.take("answer").at(-1), { type: "answer", session: offer.session, n: 20, why: "too-large" });
    await inbox.hears("bob", theirs);
    assert.equal(errors.length, 1);
    assert.deepEqual(inbox.take("answer"), [{ type: "answer", session: offer.session, n: 20, why: "too-large" }]);
  });

  test(`an offer that the ${side}'s browser does not take is refused, and reported once`, async (t) => {
    const { inbox, offer, pc, errors } = await begin(t, side);
    await inbox.hears("bob", { type: "offer", session: offer.session, n: 20, sdp: "impossible" });
    assert.ok(errors[0] instanceof CallError);
    assert.deepEqual(errors.map(({ code }) => code), ["setup-failed"]);
    assert.deepEqual(inbox.take("answer"), [{ type: "answer", session: offer.session, n: 20, why: "setup-failed" }]);
    assert.equal(pc.signalingState, "stable");
  });

  test(`an offer that the ${side} cannot answer is rolled back, refused, and reported once`, async (t) => {
    const { inbox, offer, pc, errors } = await begin(t, side);
    pc.answersFail = true;
    await inbox.hears("bob", { type: "offer", session: offer.session, n: 20, sdp: "theirs" });
    assert.deepEqual(errors.map(({ code }) => code), ["setup-failed"]);
    assert.deepEqual(inbox.take("answer").map(({ why }) => why), ["setup-failed"]);
    assert.equal(pc.signalingState, "stable");
  });

  test(`an offer of the ${side} that the other side refuses is rolled back, and reported once`, async (t) => {
    const { inbox, pc, errors } = await begin(t, side);
    pc.createDataChannel("more");
    await settle();
    const [{ session, n }] = inbox.take("offer");
    await inbox.hears("bob", { type: "answer", session, n, why: "too-large" });
    assert.ok(errors[0] instanceof CallError);
    assert.deepEqual(errors.map(({ code, reason }) => [code, reason]), [["peer-failed", "too-large"]]);
    assert.equal(pc.signalingState, "stable");
    await advance(60_000, 1000);
    assert.deepEqual(inbox.take("offer"), []);
    assert.equal(errors.length, 1);
  });

  test(`an answer that the ${side}'s browser does not take ends its offer, and is reported once`, async (t) => {
    const { inbox, pc, errors } = await begin(t, side);
    pc.createDataChannel("more");
    await settle();
    const [{ session, n }] = inbox.take("offer");
    await inbox.hears("bob", { type: "answer", session, n, sdp: "impossible" });
    assert.deepEqual(errors.map(({ code }) => code), ["setup-failed"]);
    assert.equal(pc.signalingState, "stable");
  });

  test(`an answer of the ${side} that does not get through is made again when the offer comes again`, async (t) => {
    const { inbox, offer, pc, errors } = await begin(t, side);
    refuse(inbox, "answer", "unreachable", 0);
    const theirs = { type: "offer", session: offer.session, n: 20, sdp: "theirs" };
    await inbox.hears("bob", theirs);
    inbox.take();
    inbox.sends = async () => {};
    await inbox.hears("bob", theirs);
    assert.deepEqual(inbox.take("answer").map(({ n, why }) => [n, why]), [[20, undefined]]);
    assert.equal(pc.signalingState, "stable");
    assert.deepEqual(errors, []);
  });
}

test("an offer to a peer whose inbox is gone is reported once, and repeated", async (t) => {
  const { inbox, pc, errors } = await begin(t, "caller");
  inbox.sends = async () => {
    throw new InboxError("no-such-inbox", 404, "words");
  };
  pc.createDataChannel("more");
  await advance(20_000, 1000);
  assert.deepEqual(errors.map(({ code }) => code), ["no-such-inbox"]);
  assert.ok(inbox.take("offer").length > 3);
  inbox.sends = async () => {};
  await advance(4000);
  const [again] = inbox.take("offer");
  await inbox.hears("bob", answerTo(again));
  assert.equal(pc.signalingState, "stable");
});

test("without onerror, the error goes to the console", async (t) => {
  const error = t.mock.method(console, "error", () => {});
  const { inbox, pc } = await connected(t);
  pc.sections = true;
  refuse(inbox, "offer");
  pc.createDataChannel("more");
  await settle();
  assert.deepEqual(error.mock.calls.map(({ arguments: [{ code }] }) => code), ["too-large"]);
});

test("a call that has ended looks at nothing any more", async (t) => {
  const { inbox, pc } = await begin(t, "caller");
  refuse(inbox, "offer");
  pc.createDataChannel("more");
  await advance(5000, 1000);
  let looked = 0;
  pc.createOffer = async () => (looked++, { sdp: "" });
  pc.close();
  await advance(60_000, 1000);
  assert.equal(looked, 0);
});
