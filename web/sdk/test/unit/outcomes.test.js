/** The outcome that a call reports. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "../../build/inbox.js";
import { answerTo, answered, calling, connected, last } from "../support/calls.js";
import { advance, settle } from "../support/net.js";
import { FakeInbox, fakeCalls, knows, watch } from "../support/rtc.js";

/** Chromium's statistics of a connection over these two candidates. */
function stats(local, remote = { candidateType: "host" }, how = "transport") {
  const pair = { type: "candidate-pair", id: "P", localCandidateId: "L", remoteCandidateId: "R", nominated: true, state: "succeeded" };
  const all = [
    { type: "candidate-pair", id: "Q", localCandidateId: "M", remoteCandidateId: "R", nominated: how === "transport", state: how === "transport" ? "succeeded" : "failed" },
    pair,
    { type: "local-candidate", id: "M", candidateType: "srflx", protocol: "tcp", address: "198.51.100.7" },
    { type: "local-candidate", id: "L", ...local },
    { type: "remote-candidate", id: "R", ...remote },
  ];
  if (how === "transport") all.push({ type: "transport", id: "T", selectedCandidatePairId: "P" });
  return new Map(all.map((one) => [one.id, one]));
}

const DIRECT = { candidateType: "host", protocol: "udp", address: "192.0.2.7" };

/** A call that has been connected like this for a while. */
async function connectedOver(t, map, options) {
  const all = await calling(t, options);
  await advance(2000);
  await all.inbox.hears("bob", answerTo(all.offer));
  await advance(500);
  all.pc.stats = map;
  all.pc.becomes("connected");
  await advance(3100);
  return all;
}

for (const [name, map, words] of [
  ["a direct path", stats(DIRECT), { path: "direct", transport: "udp", family: "ipv4" }],
  ["a direct path over IPv6", stats({ ...DIRECT, address: "2001:db8::7" }), { path: "direct", transport: "udp", family: "ipv6" }],
  ["a direct path whose addresses are hidden", stats({ candidateType: "host", protocol: "udp", address: "6f1c5a3e-7c3b-4c1c-8f0e-1a2b3c4d5e6f.local" }, { candidateType: "prflx", address: "" }),
    { path: "direct", transport: "udp" }],
  ["a direct path whose own address is hidden", stats({ candidateType: "prflx", protocol: "udp", address: "" }, { candidateType: "host", address: "2001:db8::8" }), { path: "direct", transport: "udp", family: "ipv6" }],
  ["ICE over TCP", stats({ ...DIRECT, protocol: "tcp" }), { path: "direct", transport: "tcp", family: "ipv4" }],
  ["a relay over UDP", stats({ candidateType: "relay", protocol: "udp", relayProtocol: "udp", address: "198.51.100.1", relatedAddress: "192.0.2.7" }, { candidateType: "relay" }),
    { path: "relay", transport: "udp", family: "ipv4" }],
  ["a relay over TLS and IPv6", stats({ candidateType: "relay", protocol: "udp", relayProtocol: "tls", address: "198.51.100.1", relatedAddress: "::" }, { candidateType: "prflx" }),
    { path: "relay", transport: "tls", family: "ipv6" }],
  ["a relay of which nothing more is known", stats({ candidateType: "relay", protocol: "udp", address: "198.51.100.1" }), { path: "relay", transport: "udp" }],
  ["a relay of the other side", stats({ ...DIRECT, address: "2001:db8::7" }, { candidateType: "relay", address: "2001:db8::8" }), { path: "relay", transport: "udp", family: "ipv6" }],
  ["statistics without transports", stats(DIRECT, undefined, "nominated"), { path: "direct", transport: "udp", family: "ipv4" }],
  ["no statistics", new Map(), {}],
]) {
  test(`a call that connects reports ${name}`, async (t) => {
    const { page } = await connectedOver(t, map);
    assert.deepEqual(page.server.outcomes, [{ result: "connected", ms: 500, ...words }]);
  });
}

test("a report outlives the page, and has the credentials of other requests", async (t) => {
  const { page } = await connectedOver(t, stats(DIRECT));
  const { url, method, keepalive, headers, credentials } = page.server.asked.at(-1);
  assert.deepEqual([url, method, keepalive, credentials], ["https://inbox.example/base/outcome?tenant=7", "POST", true, "omit"]);
  assert.equal(headers.Authorization, `Basic ${btoa("alice:secret")}`);
});

test("the path that ICE settles on is reported, once", async (t) => {
  const { page, pc } = await connected(t);
  pc.stats = stats({ candidateType: "relay", protocol: "udp", relayProtocol: "udp" });
  await advance(2000);
  pc.stats = stats(DIRECT);
  assert.deepEqual(page.server.outcomes, []);
  await advance(1100);
  assert.equal(page.server.outcomes[0].path, "direct");
  pc.becomes("disconnected");
  pc.becomes("connected");
  await advance(100_000);
  assert.equal(page.server.outcomes.length, 1);
});

test("a call that ends before that reports its current path", async (t) => {
  const { page, inbox, offer, pc } = await calling(t);
  await inbox.hears("bob", answerTo(offer));
  pc.stats = stats(DIRECT);
  pc.becomes("connected");
  await settle();
  pc.stats = new Map();
  page.fire("pagehide");
  await settle();
  assert.deepEqual(page.server.outcomes.map(({ result, path }) => [result, path]), [["connected", "direct"]]);
});

test("the callee does not report", async (t) => {
  const { page } = await answered(t);
  await advance(10_000);
  assert.deepEqual(page.server.outcomes, []);
});

test("outcomes: false reports nothing", async (t) => {
  const { page, pc } = await connectedOver(t, stats(DIRECT), { outcomes: false });
  pc.close();
  await advance(10_000);
  assert.deepEqual(page.server.outcomes, []);
});

test("a page reports once a minute for each inbox", async (t) => {
  const { server } = fakeCalls(t);
  const inbox = new FakeInbox("alice");
  const call = async () => {
    watch(connect(inbox, "bob"));
    await settle();
    await settle();
    const [offer] = inbox.take("offer");
    await inbox.hears("bob", answerTo(offer));
    last().becomes("connected");
    await advance(5000);
    last().close();
    inbox.take();
  };
  await call();
  await call();
  assert.equal(server.outcomes.length, 1);
  await advance(60_000, 1000);
  await call();
  assert.equal(server.outcomes.length, 2);
});

for (const [name, answer] of [["an older server", async () => new Response("", { status: 404 })], ["no network", async () => Promise.reject(new TypeError("failed"))]]) {
  test(`${name} that takes no reports does not affect the call`, async (t) => {
    const { inbox, offer, pc, call } = await calling(t);
    const fetch = globalThis.fetch;
    globalThis.fetch = (url, init) => (init.method ? answer() : fetch(url, init));
    await inbox.hears("bob", answerTo(offer));
    pc.becomes("connected");
    await advance(10_000);
    assert.equal(call.value, pc);
    assert.equal(pc.connectionState, "connected");
  });
}

const candidate = (kind) => `candidate:1 1 udp 1 192.0.2.7 1 typ ${kind}`;
const STUN = [{ urls: ["stun:inbox.example"] }];
const TURN_UDP = [...STUN, { urls: ["turn:inbox.example?transport=udp"], username: "u", credential: "c" }];
const TURN = [...STUN, { urls: ["turn:inbox.example?transport=udp", "turns:inbox.example?transport=tcp"], username: "u", credential: "c" }];

for (const [cause, servers, local, remote, errors] of [
  ["no-candidates", TURN, [], ["host"]],
  ["relay-failed", TURN, ["host", "srflx", "relay"], ["host", "relay"]],
  ["peer-no-relay", TURN, ["host", "relay"], ["host", "srflx"]],
  ["relay-refused", TURN, ["host", "srflx"], ["relay"], [{ errorCode: 701, errorText: "STUN binding request timed out." }, { errorCode: 401, errorText: "Unauthorized" }]],
  ["relay-busy", TURN, ["host", "srflx"], ["relay"], [{ errorCode: 486, errorText: "Allocation Quota Reached" }]],
  ["dns", TURN, ["host"], ["relay"], [{ errorCode: 701, errorText: "TURN host lookup received error." }]],
  ["relay-unreachable", TURN, ["host"], ["relay"], [{ errorCode: 701, errorText: "Failed to establish connection" }]],
  ["relay-unreachable", TURN, ["host", "srflx"], ["relay"]],
  ["relay-unreachable", TURN_UDP, ["host", "srflx"], ["relay"]],
  ["relay-unreachable", TURN_UDP, ["host"], ["relay"]],
  ["udp-blocked", TURN_UDP, ["host"], ["relay"], [{ errorCode: 701, errorText: "TURN allocate request timed out.", url: "turn:inbox.example?transport=udp", address: "192.0.2.x" }]],
  ["udp-blocked", STUN, ["host"], ["host"], [{ errorCode: 701, errorText: "STUN binding request timed out.", url: "stun:inbox.example", address: null }]],
  ["no-relay", STUN, ["host"], ["host"], [{ errorCode: 701, errorText: "STUN binding request timed out.", url: "stun:inbox.example", address: "[2001:db8:x:x:x:x:x:x]" }]],
  ["no-relay", STUN, ["host"], ["host"]],
  ["no-relay", STUN, ["host", "srflx"], ["host", "srflx"]],
  ["no-relay", [], ["host"], ["host"]],
  ["no-relay", undefined, ["host"], ["host"]],
]) {
  test(`a call without a path is ${cause} with ${JSON.stringify({ servers: servers?.map(({ urls }) => urls), local, remote, errors })}`, async (t) => {
    const { server } = fakeCalls(t);
    if (servers) server.ice = knows(servers);
    const inbox = new FakeInbox("alice");
    const call = watch(connect(inbox, "bob", { setup: (pc) => void (pc.gather = () => {}) }));
    await settle();
    await settle();
    const pc = last();
    for (const kind of local) pc.dispatchEvent(Object.assign(new Event("icecandidate"), { candidate: { candidate: candidate(kind), sdpMid: "0" } }));
    for (const error of errors ?? []) pc.dispatchEvent(Object.assign(new Event("icecandidateerror"), error));
    const [offer] = inbox.take("offer");
    await inbox.hears("bob", { type: "answer", session: offer.session, n: 1, sdp: `answer to ${offer.sdp}` });
    await inbox.hears("bob", { type: "candidates", session: offer.session, candidates: remote.map((kind) => ({ candidate: candidate(kind), sdpMid: "0" })) });
    await advance(31_000);
    assert.equal(call.error.code, "ice-failed");
    assert.equal(call.error.tried.cause, cause);
    const [outcome, ...more] = server.outcomes;
    assert.deepEqual(more, []);
    assert.ok(outcome.ms >= 29_000 && outcome.ms <= 31_000, `${outcome.ms}`);
    assert.deepEqual(outcome, { result: "failed", cause, ms: outcome.ms });
  });
}

test("a browser without WebRTC is reported", async (t) => {
  const { server } = fakeCalls(t);
  globalThis.RTCPeerConnection = undefined;
  const call = watch(connect(new FakeInbox("alice"), "bob"));
  await settle();
  assert.equal(call.error.code, "no-webrtc");
  assert.equal(call.error.tried.cause, "no-webrtc");
  assert.deepEqual(server.outcomes, [{ result: "failed", cause: "no-webrtc" }]);
});

for (const [name, bye] of [["was declined", { why: "rejected" }], ["was hung up", { why: "closed" }], ["met a mistake", { why: "setup-failed" }]]) {
  test(`a call that ${name} says nothing about the network`, async (t) => {
    const { page, inbox, offer } = await calling(t);
    await inbox.hears("bob", { type: "bye", session: offer.session, ...bye });
    await advance(60_000);
    assert.deepEqual(page.server.outcomes, []);
  });
}

test("neither does one that is not answered", async (t) => {
  const { page, call } = await calling(t);
  await advance(31_000);
  assert.equal(call.error.code, "no-answer");
  assert.equal(call.error.tried.cause, undefined);
  assert.deepEqual(page.server.outcomes, []);
});

test("a connection that worked and is lost has been reported already", async (t) => {
  const { page, pc } = await connected(t);
  await advance(4000);
  pc.becomes("disconnected");
  await advance(70_000);
  assert.ok(pc.closed);
  assert.equal(page.server.outcomes.length, 1);
});
