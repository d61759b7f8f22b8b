/** Calls in Chromium that use only the server's relay. */

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { startServer, stopServers } from "./server.js";
import { closeBrowsers, launch, person } from "./browser.js";

after(async () => {
  await closeBrowsers();
  await stopServers();
});

/**
 * Connects two peers in a page through the relay only, with video and a data channel.
 * @param {[RTCIceServer, RTCIceServer]} servers
 */
async function relayedCall(servers) {
  const [a, b] = servers.map((server) => new RTCPeerConnection({ iceServers: [server], iceTransportPolicy: "relay", bundlePolicy: "max-bundle" }));
  const failed = new Promise((_, reject) => {
    setTimeout(() => reject(new Error(`nothing in 30 s: ${a.iceConnectionState}`)), 30_000);
  });
  a.onicecandidate = ({ candidate }) => b.addIceCandidate(candidate ?? undefined);
  b.onicecandidate = ({ candidate }) => a.addIceCandidate(candidate ?? undefined);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 64;
  const drawing = canvas.getContext("2d");
  const timer = setInterval(() => {
    drawing.fillStyle = `hsl(${Date.now() % 360} 90% 50%)`;
    drawing.fillRect(0, 0, 64, 64);
  }, 50);
  a.addTrack(canvas.captureStream(20).getTracks()[0]);
  const seen = new Promise((resolve) => {
    b.ontrack = ({ track }) => {
      const video = document.createElement("video");
      video.muted = true;
      video.srcObject = new MediaStream([track]);
      video.play();
      video.requestVideoFrameCallback(() => resolve());
    };
  });
  const channel = a.createDataChannel("x");
  const heard = new Promise((resolve) => {
    b.ondatachannel = (event) => {
      event.channel.onmessage = ({ data }) => resolve(data.length);
    };
  });
  channel.onopen = () => channel.send("x".repeat(60_000));
  await a.setLocalDescription();
  await b.setRemoteDescription(a.localDescription);
  await b.setLocalDescription();
  await a.setRemoteDescription(b.localDescription);
  const [, length] = await Promise.race([Promise.all([seen, heard]), failed]);
  const paths = [];
  for (const peer of [a, b]) {
    const stats = await peer.getStats();
    const transport = [...stats.values()].find(({ type }) => type === "transport");
    const pair = stats.get(transport.selectedCandidatePairId);
    const local = stats.get(pair.localCandidateId);
    paths.push({ local: local.candidateType, remote: stats.get(pair.remoteCandidateId).candidateType, over: local.relayProtocol, address: local.address });
  }
  clearInterval(timer);
  a.close();
  b.close();
  return { length, paths };
}

test("two peers connect through the relay only, over UDP, TCP, and TLS on the port of the page", async () => {
  const server = await startServer(["--tls", "self-signed"]);
  const page = await person(await launch({ flags: ["--ignore-certificate-errors"] }));
  await page.goto(server.local);
  const ice = (id) => page.evaluate(async (name) => {
    const response = await fetch("/ice", { headers: { authorization: `Basic ${btoa(`${name}:password`)}` } });
    return (await response.json()).iceServers.find(({ username }) => username);
  }, id);
  const [alice, bob] = [await ice("alice"), await ice("bob")];
  // A server names turns: only if browsers trust its certificate.
  assert.deepEqual(alice.urls.map((url) => url.replace(/\d+\?/, "?")), ["turn:localhost:?transport=udp", "turn:localhost:?transport=tcp"]);
  const over = (relay, transport) => ({ ...relay, urls: transport === "tls" ? `turns:localhost:${server.port}?transport=tcp` : relay.urls.find((url) => url.endsWith(transport)) });
  for (const [one, other] of [["udp", "udp"], ["tcp", "tcp"], ["tls", "tls"], ["tls", "udp"]]) {
    const { length, paths } = await page.evaluate(relayedCall, [over(alice, one), over(bob, other)]);
    assert.equal(length, 60_000);
    assert.deepEqual(paths.map(({ local, remote, over: transport }) => [local, remote, transport]), [["relay", "relay", one], ["relay", "relay", other]]);
    assert.deepEqual(paths.map(({ address }) => address), ["198.51.100.1", "198.51.100.1"]);
  }
});
