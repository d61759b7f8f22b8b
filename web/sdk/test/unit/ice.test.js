/** STUN and TURN servers that the inbox server offers. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "../../build/inbox.js";
import { connected, last, ringing } from "../support/calls.js";
import { advance, settle } from "../support/net.js";
import { FakeInbox, FakePeerConnection, fakeCalls, knows, watch } from "../support/rtc.js";

const SERVERS = [{ urls: ["stun:inbox.example:3478"] }, { urls: ["turn:inbox.example:3478?transport=udp"], username: "u", credential: "c" }];
const NEWER = [{ urls: ["stun:newer.example:3478"] }];

/** Starts a call at a server that answers /ice like this. */
async function callAt(t, ice, options) {
  const { server } = fakeCalls(t);
  server.ice = ice;
  const call = watch(connect(new FakeInbox("alice"), "bob", options));
  await settle();
  await settle();
  return { server, call };
}

const asks = ({ asked }) => asked.filter(({ method }) => !method);

test("a call uses the servers that the inbox server offers", async (t) => {
  const { server } = await callAt(t, knows(SERVERS));
  const [{ url, headers, credentials }] = server.asked;
  assert.equal(url, "https://inbox.example/base/ice?tenant=7");
  assert.equal(headers.Authorization, `Basic ${btoa("alice:secret")}`);
  assert.equal(credentials, "omit");
  assert.equal(asks(server).length, 1);
  assert.deepEqual(last().configuration, { bundlePolicy: "max-bundle", iceServers: SERVERS });
});

test("an accepted call uses the servers that the inbox server offers", async (t) => {
  const { page, call } = await ringing(t);
  assert.equal(page.server.asked.length, 0);
  page.server.ice = knows(SERVERS);
  call.accept();
  await settle();
  await settle();
  assert.deepEqual(last().configuration.iceServers, SERVERS);
});

for (const [name, options, configuration] of [
  ["none", { iceServers: [] }, { iceServers: [] }],
  ["others", { iceServers: NEWER }, { iceServers: NEWER }],
  ["a function", { iceServers: async () => NEWER }, { iceServers: NEWER }],
  ["a configuration", { configuration: { iceServers: NEWER, bundlePolicy: "balanced" } }, { iceServers: NEWER, bundlePolicy: "balanced" }],
]) {
  test(`${name} replaces the servers of the inbox server`, async (t) => {
    const { server } = await callAt(t, knows(SERVERS), options);
    assert.deepEqual(last().configuration, { bundlePolicy: "max-bundle", ...configuration });
    assert.deepEqual(server.asked, []);
  });
}

test("a configuration without servers uses those of the inbox server", async (t) => {
  await callAt(t, knows(SERVERS), { configuration: { iceTransportPolicy: "relay" } });
  assert.deepEqual(last().configuration, { bundlePolicy: "max-bundle", iceTransportPolicy: "relay", iceServers: SERVERS });
});

for (const [name, ice] of [
  ["an older server", async () => new Response("Not Found", { status: 404 })],
  ["a server that is full", async () => new Response("{}", { status: 503, headers: { "Cache-Control": "no-store" } })],
  ["a page in its place", async () => new Response("<p>", { headers: { "Content-Type": "text/html", "Cache-Control": "no-store" } })],
  ["JSON that is cut off", async () => new Response('{"iceServers":[', { headers: { "Content-Type": "application/json", "Cache-Control": "no-store" } })],
  ["JSON of something else", async () => new Response('{"data":1}', { headers: { "Content-Type": "application/json", "Cache-Control": "no-store" } })],
  ["no network", async () => Promise.reject(new TypeError("failed"))],
]) {
  test(`a call continues without ICE servers if there is ${name}`, async (t) => {
    const { call } = await callAt(t, ice);
    assert.equal(FakePeerConnection.all.length, 1);
    assert.equal(last().configuration.iceServers, undefined);
    assert.equal(call.state, "pending");
  });
}

test("a server that does not answer delays a call by five seconds", async (t) => {
  await callAt(t, ({ signal }) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))));
  await advance(4900);
  assert.equal(FakePeerConnection.all.length, 0);
  await advance(200);
  assert.equal(FakePeerConnection.all.length, 1);
});

test("a call that ends while servers are fetched makes no connection", async (t) => {
  const ends = new AbortController();
  const { call } = await callAt(t, ({ signal }) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))), { signal: ends.signal });
  ends.abort();
  await advance(6000);
  assert.equal(call.state, "failed");
  assert.equal(FakePeerConnection.all.length, 0);
});

test("an ICE restart fetches the servers again", async (t) => {
  const { page, pc } = await connected(t);
  assert.equal(asks(page.server).length, 1);
  page.server.ice = knows(NEWER);
  pc.becomes("failed");
  await advance(100);
  assert.deepEqual([pc.restarts, pc.configuration.iceServers], [1, NEWER]);

  page.server.ice = async () => Promise.reject(new TypeError("failed"));
  pc.becomes("connected");
  pc.becomes("failed");
  await advance(100);
  assert.deepEqual([pc.restarts, pc.configuration.iceServers], [2, NEWER]);
  assert.equal(pc.configuration.bundlePolicy, "max-bundle");
});

test("a long call fetches the servers again before they expire", async (t) => {
  const { server } = fakeCalls(t);
  server.ice = knows(SERVERS, 1000);
  const inbox = new FakeInbox("alice");
  watch(connect(inbox, "bob"));
  await settle();
  await settle();
  const [offer] = inbox.take();
  const pc = last();
  await inbox.hears("bob", { type: "answer", session: offer.session, n: 1, sdp: `answer to ${offer.sdp}` });
  pc.becomes("connected");
  server.ice = knows(NEWER, 1000);
  await advance(890_000, 10_000);
  assert.deepEqual(pc.configuration.iceServers, SERVERS);
  await advance(20_000, 10_000);
  assert.deepEqual(pc.configuration.iceServers, NEWER);
  assert.equal(asks(server).length, 2);
  await advance(1_000_000, 10_000);
  assert.equal(asks(server).length, 3);
  assert.equal(pc.restarts, 0);
  pc.close();
  await advance(2_000_000, 10_000);
  assert.equal(asks(server).length, 3);
});

for (const ttl of [0, -1, 1, undefined, "x", 1e300]) {
  test(`a ttl of ${ttl} causes no flood of requests`, async (t) => {
    const { server } = await callAt(t, knows(SERVERS, ttl));
    await advance(20_000);
    assert.equal(asks(server).length, 1);
    assert.deepEqual(last().configuration.iceServers, SERVERS);
  });
}
