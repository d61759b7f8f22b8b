/** The texts of the pages are for a person who has never heard of WebRTC. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { findings } from "../demo/assets/causes.js";
import { endingWords as filesEnding, meetWords, recipientWords, shareWords } from "../demo/assets/files-words.js";
import { groupEndings, groupStatus, groupStep, invitations, tileWords } from "../demo/assets/group-words.js";
import { awayWords, codeFaults, codeHint, endingWords, endings, problems, setupWords, stateWords, stepWords } from "../demo/assets/words.js";

/** Terms that belong under Details. */
const JARGON = /\b(ICE|STUN|TURN|UDP|TCP|TLS|NAT|DNS|SDP|SDK|WebRTC|WebSockets?|candidates?|signaling|peers?|inbox(es)?|the other side|somebody)\b/;

/** Fails unless a text is made of plain, complete sentences. */
function assertPlain(text, what) {
  assert.doesNotMatch(text, JARGON, what);
  assert.match(text, /^[A-Z“\u2068].*[.…?]$/s, what);
  assert.doesNotMatch(text, / {2}|undefined|\{|\}/, what);
}

test("problems say in plain sentences what happened and what to do", () => {
  for (const [name, { title, text, details }] of Object.entries(problems)) {
    assertPlain(title, name);
    assertPlain(text, name);
    assert.ok(title.length <= 60, `${name}: a title of ${title.length} characters`);
    if (details !== undefined) assert.match(details, /\.$/, name);
  }
});

test("endings and steps name the other person once the name is known", () => {
  for (const why of Object.keys(endings)) {
    for (const name of ["", "Bob"]) {
      assertPlain(endingWords(why, name), why);
      assertPlain(filesEnding(why, name).text, why);
    }
  }
  assert.equal(endingWords("bye", "Bob"), "\u2068Bob\u2069 hung up.");
  assert.equal(filesEnding("bye", "Bob").text, "\u2068Bob\u2069 disconnected.");
  assert.equal(stepWords("away", ""), "The other person left the page. Waiting for them to come back…");
  assert.equal(stepWords("away", "Bob"), "\u2068Bob\u2069 left the page. Waiting for \u2068Bob\u2069 to come back…");
  assert.equal(stepWords("called", ""), "Someone is calling you.");
  assert.equal(awayWords("Bob"), "Waiting for \u2068Bob\u2069 to come back");
  assert.equal(stateWords("ringing", "Bob"), "\u2068Bob\u2069 is calling you");
  assert.equal(stateWords("ringing", ""), "Someone is calling you");
});

test("rooms are explained in plain sentences, and each person's transfer too", () => {
  const inRoom = (...names) => ({ self: "Alice", people: names.map((name) => ({ id: name, name, state: "connected", failed: false })) });
  for (const [state, room] of [["room", inRoom()], ["room", inRoom("Bob")], ["room", inRoom("Bob", "Carol")], ["full"], ["outside"]]) {
    const { status, text } = meetWords(state, { room });
    assertPlain(`${status}.`, state);
    assertPlain(text, state);
  }
  const to = (state, more, here = true) => ({ item: { state, size: 10, moved: 0, ...more }, exchange: { here, connected: here, name: "Bob" } });
  const all = [to("offered"), to("going"), to("going", { moved: 5 }), to("checking"), to("done"), to("damaged"), to("unreadable"), to("going", {}, false),
    ...["declined", "theirs", "ours", "no-room", "full", "gone"].map((why) => to("cancelled", { why }))];
  for (const one of all) {
    assert.doesNotMatch(recipientWords(one), JARGON);
    assert.match(recipientWords(one), /^[A-Z\d].*[.…%]$/i, JSON.stringify(one));
  }
  const share = { people: all, state: "going", moved: 5, size: 10, rate: { now: 2, left: 3 } };
  assert.equal(shareWords(share), "1 of 14 received it · 1 has not answered yet · 1 declined · 5 could not receive it · 1 left · 50 % of 10 bytes · 2 bytes/s · 3 s left");
  assert.equal(shareWords({ ...share, people: [] }), "Nobody else is here yet. Everyone who enters is asked for it.");
  assert.equal(shareWords({ ...share, to: { peer: "bob", name: "Bob" }, people: [to("cancelled", { why: "declined" })] }), "For \u2068Bob\u2069 only. Declined it.");
});

test("group calls are explained in plain sentences", () => {
  for (const { text, name } of Object.values(setupWords)) for (const words of [text, name]) assertPlain(words, text);
  for (const { text, here } of Object.values(invitations)) for (const words of [text, here]) assertPlain(words, text);
  for (const { title, text } of Object.values(groupEndings)) for (const words of [text, `${title}.`]) assertPlain(words, title);
  for (const [name, text] of Object.entries(tileWords)) assert.doesNotMatch(text, JARGON, name);
  for (const name of ["", "Bob"]) {
    for (const step of ["present", "joined", "back", "gone"]) assertPlain(groupStep(step, name), step);
    for (const { title, text } of Object.values(problems)) assertPlain(groupStep("apart", name, `${title} ${text}`), title);
    for (const why of Object.values(endings)) assertPlain(groupStep("apart", name, why), why);
  }
  assert.equal(groupStep("joined", "Bob"), "\u2068Bob\u2069 joined the call.");
  assert.equal(groupStatus("connected", 3), "3 people in the call");
});

test("codes are explained in plain sentences", () => {
  for (const [name, text] of Object.entries(codeFaults)) assertPlain(text, name);
  assertPlain(codeHint("example.org/call", 10), "hint");
});

test("findings keep an expert's terms under Details", () => {
  const failed = { poll: "failed", longPoll: "cut", stream: "held", socket: "failed" };
  const relay = (error, more) => [{ url: "turn:host:3478?transport=udp", candidates: [], errors: error ? [{ code: error, text: "lookup", address: "" }] : [], complete: true, ...more }];
  const candidates = [{ type: "srflx", address: "2001:db8::1", port: 1 }, { type: "relay", address: "198.51.100.1", port: 2 }];
  for (const facts of [
    { server: "no-answer" }, { server: "draining" }, { server: "store-unavailable" }, { server: "503" }, { clock: 400, mailbox: failed },
    { webrtc: "missing" }, { iceStatus: 404, ice: [] }, { iceStatus: 200, ice: [] },
    ...[0, 401, 486, 701].map((code) => ({ iceStatus: 200, ice: relay(code) })),
    { iceStatus: 200, mappings: 2, ice: relay(0, { candidates, self: { connected: false, ms: 1 } }) },
    { iceStatus: 200, address: "2001:db8::9", ice: relay(0, { candidates, self: { connected: true, ms: 100 } }) },
    { devices: { camera: "NotAllowedError", microphone: "NotReadableError" } }, { devices: { camera: "NotFoundError", microphone: "muted" } },
  ]) {
    const found = findings({ secure: "devices" in facts, ...facts });
    assert.ok(found.length > 1, JSON.stringify(facts));
    for (const { name, title, text, details } of found) {
      assertPlain(title, name);
      if (text) assertPlain(text, name);
      if (details) assert.match(details, /^[A-Z]/, name);
    }
  }
});
