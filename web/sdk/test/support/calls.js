/** Calls in the states in which tests begin. */

import assert from "node:assert/strict";
import { accept, connect } from "../../build/inbox.js";
import { advance, collect, settle } from "./net.js";
import { FakeInbox, FakePeerConnection, fakeCalls, watch } from "./rtc.js";

export const last = () => FakePeerConnection.all.at(-1);

/** A call that waits for an answer. */
export async function calling(t, options, peer = "bob") {
  const page = fakeCalls(t);
  const inbox = new FakeInbox("alice");
  const call = watch(connect(inbox, peer, options));
  await settle();
  const [offer] = inbox.take();
  return { page, inbox, call, offer, pc: last() };
}

export const answerTo = ({ session, n, sdp }) => ({ type: "answer", session, n, sdp: `answer to ${sdp} typ host` });

/** A call that is connected. */
export async function connected(t, options) {
  const all = await calling(t, options);
  await all.inbox.hears("bob", answerTo(all.offer));
  all.pc.becomes("connected");
  await advance(20, 10);
  all.inbox.take();
  assert.equal(all.call.value, all.pc);
  return all;
}

/** A loop over calls, with one that rings. */
export async function ringing(t, options) {
  const page = fakeCalls(t);
  const inbox = new FakeInbox("alice");
  const ends = new AbortController();
  const calls = collect(accept(inbox, { signal: ends.signal, ...options }));
  await settle();
  const offer = { type: "offer", session: "s", n: 1, sdp: "their offer typ host" };
  await inbox.hears("bob", offer);
  return { page, inbox, calls, call: calls.items[0], offer, ends };
}

/** A call that was answered, and is connected. */
export async function answered(t, options) {
  const all = await ringing(t, options);
  const accepted = watch(all.call.accept());
  await settle();
  const pc = last();
  pc.becomes("connected");
  await advance(20, 10);
  all.inbox.take();
  return { ...all, accepted, pc };
}
