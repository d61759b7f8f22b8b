/** Rooms of several pages in Chromium, through the real server. */

import assert from "node:assert/strict";
import { after, afterEach, before } from "node:test";
import { newContext, openPage, startBrowser, stopBrowser, takeFaults } from "../support/browser.js";
import { startServer, stopServers } from "../support/server.js";
import { test } from "../support/test.js";

let server;
let context;

before(async () => {
  [server] = await Promise.all([startServer(), startBrowser()]);
  context = await newContext();
});
afterEach(async () => {
  await context.close();
  context = await newContext();
  assert.deepEqual(takeFaults(), []);
});
after(async () => {
  await stopBrowser();
  await stopServers();
});

/** Opens a page that enters a room, and says hello to everyone it connects to. */
async function enter(page, id, options = {}) {
  await page.evaluate(async ([url, id, options]) => {
    const { join } = await import("/rooms.js");
    globalThis.startedAt = performance.now();
    globalThis.peers = {};
    globalThis.states = {};
    globalThis.heard = {};
    globalThis.setups = [];
    globalThis.inbox = openInbox(url, id);
    const setup = (pc, peer) => {
      setups.push(peer);
      const channel = pc.createDataChannel("chat", { negotiated: true, id: 0 });
      channel.onopen = () => channel.send(`hello from ${id}`);
      channel.onmessage = ({ data }) => (heard[peer] ??= []).push(data);
    };
    globalThis.room = await join(inbox, "standup", { iceServers: [], setup, ...options });
    globalThis.loop = (async () => {
      for await (const { peer, state, pc } of room.peers()) {
        peers[peer] = pc;
        (states[peer] ??= []).push(state);
        if (Object.values(peers).filter(Boolean).length === 5) globalThis.completeAt ??= performance.now();
      }
    })();
  }, [server.url, id, options]);
}

const NAMES = ["ann", "bob", "cid", "dan", "eve", "fay"];

/** Waits until a page is connected to these peers, and has heard each of them that often at least. */
const meets = (page, others, times = 1) => page.evaluate(([others, times]) => until(() =>
  Object.values(peers).filter(Boolean).length === others.length &&
  others.every((id) => peers[id]?.connectionState === "connected" && heard[id]?.length >= times)), [others, times]);

const without = (id) => NAMES.filter((name) => name !== id);

test("six pages connect to each other, and repair a connection that is closed and a page that reloads", async (t) => {
  const pages = await Promise.all(NAMES.map(() => openPage(context)));
  await Promise.all(pages.map((page, i) => enter(page, NAMES[i])));
  await Promise.all(pages.map((page, i) => meets(page, without(NAMES[i]))));
  const times = await Promise.all(pages.map((page) => page.evaluate(() => Math.round(completeAt - startedAt))));
  t.diagnostic(`a room of 6: all 15 connections after ${Math.max(...times)} ms`);
  for (const [i, page] of pages.entries()) {
    const { members, setups, live } = await page.evaluate(() => ({ members: room.members, setups, live: liveConnections() }));
    assert.deepEqual([...members].sort(), NAMES);
    assert.deepEqual([...setups].sort(), without(NAMES[i]), "each pair has one connection");
    assert.equal(live, 5);
  }

  const [ann, bob, cid] = pages;
  await ann.evaluate(() => peers.bob.close());
  // Both sides say hello over the new connection too.
  const again = (page, peer) => page.evaluate((peer) => until(() => heard[peer].length === 2 && peers[peer]?.connectionState === "connected"), peer);
  await Promise.all([again(ann, "bob"), again(bob, "ann")]);
  assert.deepEqual(await ann.evaluate(() => states.bob.slice(-3)), ["failed", "connecting", "connected"]);

  await cid.reload();
  await cid.waitForFunction(() => globalThis.ready);
  await enter(cid, "cid");
  await Promise.all(pages.map((page, i) => meets(page, without(NAMES[i]))));
  await Promise.all(pages.filter((page) => page !== cid).map((page) => meets(page, without(NAMES[pages.indexOf(page)]), 1)));
  for (const page of pages) assert.equal(await page.evaluate(() => until(() => liveConnections() === 5 && room.members.length === 6)), true);

  await cid.evaluate(() => room.leave());
  assert.deepEqual(await cid.evaluate(async () => [await loop, liveConnections()]), [undefined, 0]);
  for (const page of pages) if (page !== cid) await page.evaluate(() => until(() => !room.members.includes("cid") && states.cid.at(-1) === "left" && liveConnections() === 4));
});

test("a room survives a server that forgets it, and keeps the connections", async () => {
  const own = await startServer();
  const pages = await Promise.all(["ann", "bob"].map(() => openPage(context)));
  const shared = server;
  server = own;
  try {
    await Promise.all(pages.map((page, i) => enter(page, NAMES[i])));
    await Promise.all([meets(pages[0], ["bob"]), meets(pages[1], ["ann"])]);
    await own.kill();
    await startServer([], own.port);
    // A third page finds both.
    await Promise.all(pages.map((page) => page.evaluate(() => until(() => inbox.told.filter((what) => what === "socket").length === 2))));
    const third = await openPage(context);
    await enter(third, "cid");
    await meets(third, ["ann", "bob"]);
    for (const [i, page] of pages.entries()) {
      await meets(page, without(NAMES[i]).slice(0, 2));
      assert.deepEqual(await page.evaluate((other) => states[other].slice(-1), NAMES[1 - i]), ["connected"]);
      assert.equal(await page.evaluate((other) => setups.filter((peer) => peer === other).length, NAMES[1 - i]), 1);
    }
  } finally {
    server = shared;
  }
});

test("a room with a secret is closed to those who lack it, and other calls do not mix with it", async () => {
  const pages = await Promise.all(["ann", "bob", "cid"].map(() => openPage(context)));
  await Promise.all(pages.map((page, i) => enter(page, `secret ${NAMES[i]}`, { secret: i < 2 ? "ä 🦊" : "guess" })));
  await Promise.all([meets(pages[0], ["secret bob"]), meets(pages[1], ["secret ann"])]);
  assert.deepEqual(await pages[2].evaluate(() => [room.members, room.id.length]), [["secret cid"], 43]);
  const answered = await Promise.all([
    pages[1].evaluate(() => answerAll(inbox, { iceServers: [] })),
    pages[2].evaluate(async () => {
      const pc = await connect(inbox, "secret bob", { iceServers: [], wait: 5000, timeout: 20_000 });
      return talk(pc);
    }),
  ]);
  assert.equal(answered[1], "secret bob heard hello");
  // Messages to the room arrive as others do.
  const said = await Promise.all([
    pages[1].evaluate(async () => {
      for await (const { from, data } of inbox.messages()) return [from, data];
    }),
    pages[0].evaluate(() => room.send({ hello: "room" })),
  ]);
  assert.deepEqual(said[0], ["secret ann", { hello: "room" }]);
});
