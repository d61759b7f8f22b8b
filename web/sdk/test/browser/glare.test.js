/** Both sides call at once, and many call many. */

import assert from "node:assert/strict";
import { after, before } from "node:test";
import { openPage, startBrowser, stopBrowser, takeFaults } from "../support/browser.js";
import { startServer, stopServers } from "../support/server.js";
import { test } from "../support/test.js";

/** INBOX_GLARE=100 takes minutes. */
const TIMES = Number(process.env.INBOX_GLARE ?? 20);

let server;

before(async () => {
  [server] = await Promise.all([startServer(), startBrowser()]);
});

after(async () => {
  await stopBrowser();
  await stopServers();
});

for (const accepts of [false, true]) {
  test(`glare, ${TIMES} times, ${accepts ? "with" : "without"} accept: one connection, always`, { timeout: 30_000 + 1000 * TIMES }, async (t) => {
    const [alice, bob] = await Promise.all([openPage(), openPage()]);
    const pages = [[alice, "alice"], [bob, "bob"]];
    const times = [];
    for (let i = 0, late = 0; times.length < TIMES; i++) {
      await Promise.all(pages.map(([page, name]) =>
        page.evaluate(async ([url, id, accepts]) => {
          globalThis.inbox = openInbox(url, id);
          // The same setup for both ways: a side that is called just before it calls has been set up already.
          globalThis.setup = (pc) => {
            if (pc.heard) return;
            pc.heard = [];
            pc.fixed = pc.createDataChannel("from the start", { negotiated: true, id: 5 });
            pc.fixed.onmessage = ({ data }) => pc.heard.push(data);
            pc.ondatachannel = ({ channel }) => (channel.onmessage = ({ data }) => pc.heard.push(data));
          };
          if (accepts) await answerAll(inbox, { setup });
          else await justOpen(inbox);
        }, [server.url, `${name} ${accepts} ${i}`, accepts])));
      const begun = performance.now();
      // At the same time, before, and after.
      const lead = [0, 20, -20][i % 3];
      const results = await Promise.all(pages.map(([page, name], side) =>
        page.evaluate(async ([peer, wait, side]) => {
          await new Promise((resolve) => setTimeout(resolve, wait));
          // On a busy machine the other call may be over by now.
          const late = inbox.connections?.length > 0;
          globalThis.pc = late ? inbox.connections[0] : await connect(inbox, peer, { setup });
          await until(() => pc.fixed.readyState === "open");
          pc.fixed.send(`start ${side}`);
          pc.createDataChannel("later").onopen = ({ target }) => target.send(`later ${side}`);
          await until(() => pc.heard.length === 2);
          const { sdp } = pc.localDescription;
          const mine = /fingerprint:(.*)/.exec(sdp)[1];
          return { late, heard: pc.heard.sort(), mine, theirs: /fingerprint:(.*)/.exec(pc.remoteDescription.sdp)[1], open: liveConnections() };
        }, [`${name === "alice" ? "bob" : "alice"} ${accepts} ${i}`, Math.max(0, side ? -lead : lead), side])));
      const [a, b] = results;
      assert.equal(a.mine, b.theirs);
      assert.equal(a.theirs, b.mine);
      assert.deepEqual(a.heard, ["later 1", "start 1"]);
      assert.deepEqual(b.heard, ["later 0", "start 0"]);
      assert.deepEqual([a.open, b.open], [1, 1]);
      if (a.late || b.late) late++;
      else times.push(performance.now() - begun);
      assert.ok(late < 2 * TIMES, "they hardly ever called at once");
      await Promise.all(pages.map(([page]) => page.evaluate(() => cleanUp())));
    }
    times.sort((a, b) => a - b);
    t.diagnostic(`ms until both had heard each other: ${Math.round(times[times.length >> 1])} in the middle, ${Math.round(times.at(-1))} at most`);
    assert.deepEqual(takeFaults(), []);
    await Promise.all(pages.map(([page]) => page.close()));
  });
}

test("20 peers make a mesh of 190 connections", async (t) => {
  const pages = await Promise.all(Array.from({ length: 4 }, () => openPage()));
  const ids = Array.from({ length: 20 }, (_, i) => `peer ${i}`);
  const mine = pages.map((_, at) => ids.filter((_, i) => i % 4 === at));
  await Promise.all(pages.map((page, at) =>
    page.evaluate(async ([url, mine]) => {
      globalThis.peers = await Promise.all(mine.map(async (id) => {
        const inbox = openInbox(url, id);
        await answerAll(inbox);
        return inbox;
      }));
    }, [server.url, mine[at]])));
  const begun = performance.now();
  // Each peer calls all later ones, all at once.
  const heard = await Promise.all(pages.map((page) =>
    page.evaluate(async (ids) => {
      const all = peers.flatMap((inbox) =>
        ids.slice(ids.indexOf(inbox.id) + 1).map(async (peer) => {
          const pc = await connect(inbox, peer);
          return (await talk(pc, inbox.id)) === `${peer} heard ${inbox.id}`;
        }));
      return Promise.all(all);
    }, ids)));
  t.diagnostic(`${Math.round(performance.now() - begun)} ms`);
  assert.equal(heard.flat().filter(Boolean).length, 190);
  const accepted = await Promise.all(pages.map((page) =>
    page.evaluate(() => peers.map(({ connections, failures }) => [connections.length, failures.length]))));
  assert.deepEqual(
    accepted.flat().map(([connections]) => connections).sort((a, b) => a - b),
    Array.from({ length: 20 }, (_, i) => i),
  );
  assert.deepEqual(takeFaults(), []);
  await Promise.all(pages.map((page) => page.close()));
});
