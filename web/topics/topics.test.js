/**
 * y-webrtc and Trystero as they come from npm, in Chromium, against inbox: alone, and two
 * servers that share a Redis. With INBOX_COMPARE also against y-webrtc's own server.
 */

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { closePages, openPage, startBrowser, stopAll, targets, until } from "./support.js";

before(() => startBrowser("page.js", "document.js"));
after(stopAll);
afterEach(closePages);

const compare = Boolean(process.env.INBOX_COMPARE);
const patience = compare ? 120_000 : 45_000;
const limit = { timeout: compare ? 300_000 : 90_000 };
const names = (n) => Array.from({ length: n }, (_, i) => `peer-${String(i).padStart(2, "0")}`);
const pick = (servers, i) => servers[i % servers.length];

const open = (page, name, room, server, options) => page.evaluate((given) => openDocument(...given), [name, room, { signaling: [server.url], maxConns: 100, ...options }]);

/** Opens a document for each name, at the servers in turn, and waits until each has all. */
async function inSync(t, servers, all, room, options = {}) {
  const pages = await Promise.all(all.map(openPage));
  const begin = Date.now();
  const opening = (page, i) => open(page, all[i], room, pick(servers, i), options);
  if (options.password) {
    // Two pages that open a room with a password at the same time may miss each other with any server.
    for (const [i, page] of pages.entries()) {
      await opening(page, i);
      await until(page, "connected", true, patience);
    }
  } else await Promise.all(pages.map(opening));
  await Promise.all(pages.map((page) => until(page, "names", all.join(" "), patience)));
  t.diagnostic(`${all.length} documents in sync after ${Date.now() - begin} ms`);
  return pages;
}

for (const [target, start] of Object.entries(targets)) {
  if (target.startsWith("y-webrtc") && !compare) continue;
  describe(`y-webrtc against ${target}`, () => {
    let servers;
    before(async () => (servers = await start()));
    for (const [n, password] of [[2], [2, "secret"], [10]]) {
      test(`${n} documents${password ? " with a password" : ""}`, limit, async (t) => {
        await inSync(t, servers, names(n), `room of ${n} ${password}`, { password });
      });
    }
    test("a page with another password stays outside", limit, async (t) => {
      const [page] = await inSync(t, servers, names(2), "guarded", { password: "right" });
      const stranger = await openPage();
      await open(stranger, "stranger", "guarded", servers[0], { password: "wrong" });
      const late = await openPage();
      await open(late, "late", "guarded", servers[0], { password: "right" });
      await until(page, "names", "late peer-00 peer-01", patience);
      assert.equal(await stranger.evaluate(() => names()), "stranger");
    });
    test("the server restarts", limit, async (t) => {
      const pages = await inSync(t, servers, names(2), "restart");
      await Promise.all(servers.map((server) => server.kill()));
      servers = await Promise.all(servers.map((server) => server.restart()));
      const late = await openPage();
      await open(late, "late", "restart", pick(servers, 1));
      await Promise.all([...pages, late].map((page) => until(page, "names", "late peer-00 peer-01", patience)));
    });
  });

  if (target.startsWith("y-webrtc")) continue;
  describe(`Trystero against ${target}`, () => {
    let servers;
    before(async () => (servers = await start()));
    const join = (page, name, room, i) => page.evaluate((given) => window.join(...given), [name, room, pick(servers, i).trystero]);
    const others = (all, own) => all.filter((name) => name !== own).join(" ");
    for (const n of [2, 8]) {
      test(`a room of ${n}`, limit, async (t) => {
        const all = names(n);
        const pages = await Promise.all(all.map(openPage));
        const begin = Date.now();
        await Promise.all(pages.map((page, i) => join(page, all[i], `room of ${n}`, i)));
        await Promise.all(pages.map((page, i) => until(page, "heard", others(all, all[i]), patience)));
        t.diagnostic(`${n} peers have heard each other after ${Date.now() - begin} ms`);
      });
    }
    test("a peer leaves and comes back", limit, async () => {
      const [one, two] = [await openPage(), await openPage()];
      await join(one, "one", "back", 0);
      await join(two, "two", "back", 1);
      await until(one, "heard", "two", patience);
      await two.evaluate(() => leave());
      await until(one, "others", 0, patience);
      await two.reload();
      await join(two, "again", "back", 1);
      await Promise.all([until(one, "heard", "again two", patience), until(two, "heard", "one", patience)]);
    });
    test("a lost connection", limit, async () => {
      const [one, two] = [await openPage(), await openPage()];
      await join(one, "one", "lost", 0);
      await join(two, "two", "lost", 1);
      await Promise.all([until(one, "heard", "two", patience), until(two, "heard", "one", patience)]);
      await one.evaluate(() => cut());
      await two.evaluate(() => cut());
      const late = await openPage();
      await join(late, "late", "lost", 1);
      await Promise.all([until(one, "heard", "late two", patience), until(late, "heard", "one two", patience)]);
    });
    test("the server restarts", limit, async () => {
      const [one, late] = [await openPage(), await openPage()];
      await join(one, "one", "restart", 0);
      await Promise.all(servers.map((server) => server.kill()));
      servers = await Promise.all(servers.map((server) => server.restart()));
      await join(late, "late", "restart", 1);
      await until(one, "heard", "late", patience);
    });
  });
}
