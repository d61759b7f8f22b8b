/** How the test page explains observations that a test cannot produce for real, or that are harmless. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { findings, verdict } from "../demo/assets/causes.js";
import { reportOf } from "../demo/assets/report.js";

const host = { type: "host", address: "192.168.1.5", port: 5000 };
const mapped = { type: "srflx", address: "203.0.113.7", port: 6000 };
const relay = { type: "relay", address: "198.51.100.1", port: 50000 };
const mailbox = { poll: "ok", longPoll: "ok", stream: "ok", socket: "ok" };
const self = { connected: true, ms: 200 };

const gathered = (url, candidates, errors = [], more = {}) => ({ url, candidates, errors, complete: true, ...more });
const stun = (...candidates) => gathered("stun:host:3478", [host, ...candidates]);
const udp = (...candidates) => gathered("turn:host:3478?transport=udp", candidates, [], candidates.length > 0 ? { self } : {});
const tls = (...candidates) => gathered("turns:host:443?transport=tcp", candidates, [], candidates.length > 0 ? { self } : {});

const facts = (more) => ({ secure: true, clock: 0, mailbox, iceStatus: 200, ice: [stun(mapped), udp(relay), tls(relay)], address: "203.0.113.7", mappings: 1, ...more });
const names = (more) => findings(facts(more)).map(({ name }) => name);

test("without faults, calls work", () => {
  assert.deepEqual(names(), ["mailbox", "network", "relay"]);
  assert.equal(verdict(findings(facts())).title, "Calls work from here.");
});

test("an error of one address family or URL is ignored while another one works", () => {
  const error = { code: 701, text: "TURN server connection failed.", address: "2001:db8::1" };
  assert.deepEqual(names({ ice: [stun(mapped), gathered("turn:host:3478?transport=udp", [relay], [error], { self }), tls(relay)] }), ["mailbox", "network", "relay"]);
});

test("mDNS names are not a fault", () => {
  assert.deepEqual(names({ ice: [gathered("stun:host:3478", [{ ...host, address: "9b36.local" }, mapped]), udp(relay)] }), ["mailbox", "network", "relay"]);
});

test("a relay that reached its quota is reported as full", () => {
  const full = gathered("turn:host:3478?transport=udp", [], [{ code: 486, text: "Allocation Quota Reached", address: "" }]);
  assert.ok(names({ ice: [stun(mapped), full] }).includes("relay-busy"));
});

test("a STUN server that does not answer is reported", () => {
  const silent = gathered("stun:host:3478", [host], [{ code: 701, text: "STUN binding request timed out.", address: "" }]);
  assert.ok(names({ ice: [silent, udp(relay)] }).includes("stun"));
});

test("a VPN is only a hint", () => {
  const found = findings(facts({ address: "198.18.7.7" }));
  assert.equal(found.find(({ name }) => name === "vpn").level, "note");
  assert.equal(verdict(found).level, "ok");
  // The page may be requested over IPv6 while calls use IPv4.
  assert.deepEqual(names({ address: "2001:db8::9" }), ["mailbox", "network", "relay"]);
});

test("plain HTTP is reported, since it offers no camera", () => {
  assert.ok(names({ secure: false }).includes("insecure"));
});

test("each fault of a camera has its explanation", () => {
  for (const [how, words] of [["NotAllowedError", /Allow it/], ["NotReadableError", /Another program/], ["muted", /key or a shutter/], ["OverconstrainedError", /OverconstrainedError/]]) {
    const { text } = findings(facts({ devices: { camera: how, microphone: "ok" } })).find(({ name }) => name === "camera");
    assert.match(text, words);
  }
});

test("the report hides addresses, including IPv6 and unusual URLs", () => {
  const ice = [gathered("turn:[2001:db8::1]:3478?transport=udp", [{ ...mapped, address: "2001:db8::7" }, relay]), gathered("stun:192.0.2.9", [host])];
  const all = facts({ ice });
  const report = reportOf(all, findings(all), { browser: "a browser", page: "https://signal.example.com:8443/base/test", addresses: false });
  assert.doesNotMatch(report, /2001:db8|192\.|203\.0|198\.51|signal|8443/);
  assert.match(report, /turn:HOST:3478\?transport=udp/);
});
