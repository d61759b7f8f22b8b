/** Calls of PeerJS clients through the server's relay, set up with the line in docs/peerjs.md. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startServer } from "../e2e/server.js";
import { Stage, startBrowser, stopAll } from "./support.js";

before(startBrowser);
after(stopAll);

test("peers that only reach the relay exchange data and video over it", { timeout: 120_000 }, async () => {
  const stage = new Stage("inbox", new Map(), 30_000);
  try {
    const pages = await Promise.all([stage.page(), stage.page()]);
    const origin = await pages[0].evaluate(() => location.origin);
    const server = await startServer(["--ice-public", "--allow-origin", origin]);
    await Promise.all(pages.map((page, i) => page.evaluate(async ([url, port, id]) => {
      const config = await (await fetch(`${url}ice`)).json();
      // As in a network where only the relay works.
      make("peer", id, { host: "localhost", port, path: "/", config: { ...config, iceTransportPolicy: "relay" } });
    }, [server.local, server.port, ["relay-alice", "relay-bob"][i]])));
    const [alice, bob] = pages;
    await Promise.all(pages.map((page) => page.waitForFunction(() => peers.peer.told.includes("open"))));
    await alice.evaluate(() => connect("peer", "relay-bob"));
    await alice.waitForFunction(() => peers.peer.heard.includes("relay-bob heard hello from relay-alice"), undefined, { polling: 20 });
    const kinds = await alice.evaluate(async () => {
      const stats = await peers.peer.links[0].peerConnection.getStats();
      const { selectedCandidatePairId } = [...stats.values()].find((one) => one.selectedCandidatePairId);
      const pair = stats.get(selectedCandidatePairId);
      return [pair.localCandidateId, pair.remoteCandidateId].map((id) => stats.get(id).candidateType);
    });
    assert.equal(kinds[0], "relay");
    await alice.evaluate(() => call("peer", "relay-bob"));
    await Promise.all([alice, bob].map((page) => page.evaluate(() => sees("peer"))));
  } finally {
    await stage.end();
  }
});

test("a page of another origin gets no servers without a password", { timeout: 60_000 }, async () => {
  const stage = new Stage("inbox", new Map(), 30_000);
  try {
    const page = await stage.page();
    const ask = (server) => page.evaluate(async (url) => (await fetch(`${url}ice`)).status, server.local).catch(() => "blocked");
    assert.equal(await ask(await startServer(["--ice-public", "--allow-origin", "https://app.example.com"])), "blocked");
    assert.equal(await ask(await startServer([])), 401);
  } finally {
    await stage.end();
  }
});
