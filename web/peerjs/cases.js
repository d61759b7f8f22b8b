/**
 * The guarantees of PeerJS to pages, as its client sees them. Each case runs against
 * every server. Cases whose title begins with + fail with peerjs-server.
 */

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

/** Two peers exchange hellos over a data connection. */
async function talk(one, other, options) {
  const [from, to] = await Promise.all([one, other].map((peer) => peer.do((peer) => peer.id)));
  await one.connect(to, options);
  await Promise.all([one.hears(`${to} heard hello from ${from}`), other.hears(`hello from ${from}`)]);
}

export const cases = {
  async "open with a chosen id and with an id from the server"(stage) {
    const [named, unnamed] = await Promise.all([stage.peer(0, "open-alice"), stage.peer(1)]);
    await Promise.all([named.tells("open"), unnamed.tells("open")]);
    assert.equal(await named.do((peer) => peer.id), "open-alice");
    assert.match(await unnamed.do((peer) => peer.id), /^[0-9a-f-]{36}$/);
  },

  async "connect and exchange data in every serialization"(stage) {
    const [alice, bob] = await Promise.all([stage.peer(0, "data-alice"), stage.peer(1, "data-bob")]);
    await Promise.all([alice.tells("open"), bob.tells("open")]);
    await talk(alice, bob);
    await talk(bob, alice, { serialization: "json", metadata: { "ä": [1, null, "🙂"] }, label: "two" });
    await talk(alice, bob, { serialization: "binary-utf8", reliable: true });
    assert.deepEqual(await alice.do((peer) => peer.links[1].metadata), { "ä": [1, null, "🙂"] });
    await bob.do((peer) => peer.links[0].send({ n: [1, 2], text: "x".repeat(100_000) }));
    await alice.until((peer) => peer.heard.some((one) => one.text?.length === 100_000 && one.n[1] === 2));
  },

  async "a call with video and audio"(stage) {
    const [alice, bob] = await Promise.all([stage.peer(0, "call-alice"), stage.peer(1, "call-bob")]);
    await Promise.all([alice.tells("open"), bob.tells("open")]);
    await alice.call("call-bob");
    await Promise.all([alice.sees(), bob.sees()]);
  },

  async "disconnect() keeps connections and frees the id; reconnect() takes it back"(stage) {
    const [alice, bob] = await Promise.all([stage.peer(0, "again-alice"), stage.peer(1, "again-bob")]);
    await Promise.all([alice.tells("open"), bob.tells("open")]);
    await talk(alice, bob);
    await alice.do((peer) => peer.disconnect());
    await alice.tells("disconnected");
    assert.ok(await alice.do((peer) => peer.disconnected && !peer.destroyed));
    await alice.do((peer) => peer.links[0].send("still here"));
    await bob.hears("still here");
    await alice.do((peer) => peer.reconnect());
    await alice.tells("open", 2);
    assert.equal(await alice.do((peer) => peer.id), "again-alice");
    await talk(bob, alice);
    await alice.do((peer) => peer.disconnect());
    const other = await stage.peer(0, "again-alice");
    await other.tells("open");
  },

  async "unavailable-id for an id in use"(stage) {
    const alice = await stage.peer(0, "taken");
    await alice.tells("open");
    for (const turn of [0, 1]) {
      const second = await stage.peer(turn, "taken");
      await second.tells("unavailable-id");
      await second.tells("close");
      assert.ok(await second.do((peer) => peer.destroyed));
    }
    assert.deepEqual(await alice.do((peer) => peer.told), ["open"]);
  },

  async "peer-unavailable once, 5 to 6 seconds after a call to an absent peer"(stage) {
    const alice = await stage.peer(0, "lonely");
    await alice.tells("open");
    const start = Date.now();
    await alice.connect("nobody-is-called-so");
    await alice.tells("peer-unavailable");
    const took = Date.now() - start;
    assert.ok(took > 4_800, `after ${took} ms`); // a busy machine adds to it
    await sleep(1_500); // a second one could only be waited for
    assert.deepEqual(await alice.do((peer) => peer.told), ["open", "peer-unavailable"]);
    assert.ok(await alice.do((peer) => peer.open));
  },

  async "peer-unavailable for a value that is not an id, as in connect(123)"(stage) {
    const alice = await stage.peer(0, "clumsy");
    await alice.tells("open");
    const wrong = [123, 1.5, true, { id: "bob" }];
    for (const to of wrong) await alice.connect(to);
    await alice.tells("peer-unavailable", wrong.length);
    assert.ok(await alice.do((peer) => peer.open));
  },

  async "a peer that arrives a moment after it was called is reached"(stage) {
    const [alice, bob] = await Promise.all([stage.peer(0, "early"), stage.person(1, "late")]);
    await alice.tells("open");
    const sent = alice.sends("OFFER");
    await alice.connect("late");
    await sent;
    await bob.comes(); // within the five seconds that the message waits
    await alice.hears("late heard hello from early");
    await bob.hears("hello from early");
  },

  async "destroy() ends everything and frees the id"(stage) {
    const [alice, bob] = await Promise.all([stage.peer(0, "gone-alice"), stage.peer(1, "gone-bob")]);
    await Promise.all([alice.tells("open"), bob.tells("open")]);
    await talk(alice, bob);
    await alice.do((peer) => peer.destroy());
    await alice.tells("close");
    await bob.until((peer) => peer.links.every((link) => !link.open));
    const next = await stage.peer(1, "gone-alice");
    await next.tells("open");
    await talk(bob, next);
  },

  async "listAllPeers() lists all peers"(stage) {
    const options = { path: "/list" };
    const all = await Promise.all(["list-a", "list-b", "list-c"].map((id, turn) => stage.peer(turn, id, options)));
    await Promise.all(all.map((peer) => peer.tells("open")));
    for (const peer of all) {
      await peer.until((peer) => new Promise((resolve) => peer.listAllPeers((ids) => resolve(ids.sort().join() === "list-a,list-b,list-c"))));
    }
    await all[0].do((peer) => peer.destroy());
    await all[1].until((peer) => new Promise((resolve) => peer.listAllPeers((ids) => resolve(ids.sort().join() === "list-b,list-c"))));
  },

  async "a custom path and key, and no other key"(stage) {
    const options = { path: "/my/app", key: "sesame" };
    const [alice, bob] = await Promise.all([stage.peer(0, "own-alice", options), stage.peer(1, undefined, { ...options, path: "/my/app/" })]);
    await Promise.all([alice.tells("open"), bob.tells("open")]);
    await talk(alice, bob);
    const { page } = alice;
    const wrong = { ...alice.options, key: "wrong" };
    await page.evaluate((options) => make("wrong", "own-eve", options), wrong);
    await page.waitForFunction(() => peers.wrong.told.includes("server-error") && peers.wrong.destroyed);
  },

  async "+ the same id and token take over immediately, with open"(stage) {
    const options = { token: "shared-by-two-tabs" };
    const old = await stage.peer(0, "tab", options);
    await old.tells("open");
    await sleep(2_500); // a replaced socket lives for at least two seconds
    const next = await stage.peer(1, "tab", options);
    await next.page.waitForFunction(() => peers.peer.told.includes("open"));
    await old.page.waitForFunction(() => peers.peer.told.includes("disconnected"));
    const bob = await stage.peer(0, "tab-bob");
    await bob.tells("open");
    await talk(bob, next);
  },

  async "+ each message has its own 5 seconds, whatever was sent before"(stage) {
    const [alice, bob] = await Promise.all([stage.peer(0, "patient"), stage.person(1, "tardy")]);
    await alice.tells("open");
    await alice.connect("tardy");
    await sleep(4_000);
    await alice.connect("tardy");
    await alice.tells("peer-unavailable");
    await bob.comes(); // in the four seconds that the second message still waits
    await bob.tells("open");
    await bob.page.waitForFunction(() => peers.peer.heard.includes("hello from patient"));
  },
};

/** Cases that need the whole machine. */
export const large = {
  async "a mesh of 20 peers with 190 connections"(stage) {
    const count = 20;
    const all = await Promise.all([0, 1].map((turn) => stage.page().then(async (page) => ({ page, options: await stage.options(turn) }))));
    await Promise.all(all.map(({ page, options }, half) => page.evaluate(async ([half, count, options]) => {
      for (let i = half; i < count; i += 2) make(`m${i}`, `mesh-${i}`, options);
      await until(() => Object.values(peers).every((peer) => peer.open));
    }, [half, count, options])));
    await Promise.all(all.map(({ page }, half) => page.evaluate(async ([half, count]) => {
      for (let i = half; i < count; i += 2) for (let j = 0; j < i; j++) connect(`m${i}`, `mesh-${j}`);
    }, [half, count])));
    await Promise.all(all.map(({ page }) => page.waitForFunction((count) => Object.values(peers).every((peer) =>
      new Set(peer.heard.map((text) => /hello from mesh-(\d+)$/.exec(text)[1] + text)).size === count - 1), count, { timeout: 100_000 })));
    for (const { page } of all) {
      assert.ok(await page.evaluate(() => Object.values(peers).every((peer) => peer.told.join() === "open")));
    }
  },
};
