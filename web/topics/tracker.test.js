/**
 * bittorrent-tracker's client, WebTorrent, P2PT and Trystero's torrent strategy as they come
 * from npm, in Chromium, against inbox: alone, and two servers that share a Redis. With
 * INBOX_COMPARE also against bittorrent-tracker's own server.
 */

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, afterEach, before, describe, test } from "node:test";
import { closePages, openPage, startBrowser, stopAll, trackers, until } from "./support.js";
import { eventually } from "../e2e/suite.js";

before(() => startBrowser("peers.js"));
after(stopAll);
afterEach(closePages);

const patience = 45_000;
const limit = { timeout: 90_000 };

for (const [target, start] of Object.entries(trackers)) {
  if (target.startsWith("bittorrent-tracker") && !process.env.INBOX_COMPARE) continue;
  describe(`against ${target}`, () => {
    let urls;
    before(async () => {
      const servers = await start();
      urls = [servers[0].tracker, servers.at(-1).tracker];
    });

    /** Waits until two pages have heard of each other, and reports how long that took. */
    const both = async (t, pages, begin) => {
      await Promise.all([until(pages[0], "heard", "two", patience), until(pages[1], "heard", "one", patience)]);
      t.diagnostic(`after ${Date.now() - begin} ms`);
    };
    const open = () => Promise.all([openPage(), openPage()]);

    test("bittorrent-tracker's client announces, offers, answers, scrapes and stops", limit, async (t) => {
      const pages = await open();
      const hash = randomBytes(20).toString("hex");
      const begin = Date.now();
      await Promise.all(pages.map((page, i) => page.evaluate((given) => track(...given), [["one", "two"][i], hash, urls[i]])));
      await both(t, pages, begin);
      const sees = (page, how, want) => eventually(async () => assert.equal(await page.evaluate((how) => how === "scrape" ? scrape() : announce(how), how), want));
      await Promise.all(pages.map((page) => sees(page, "update", "0 2")));
      await pages[0].evaluate(() => announce("complete"));
      await Promise.all(pages.map((page) => sees(page, "update", "1 1")));
      await Promise.all(pages.map((page) => sees(page, "scrape", "1 1")));
      await pages[0].evaluate(() => announce("stop"));
      await sees(pages[1], "update", "0 1");
      await sees(pages[1], "scrape", "0 1");
      for (const page of pages) assert.deepEqual(await page.evaluate(() => warnings), []);
      await pages[1].close();
      await sees(pages[0], "scrape", "0 0");
    });

    test("WebTorrent passes 5 MB from one browser to another", limit, async (t) => {
      const pages = await open();
      const [magnet, digest] = await pages[0].evaluate((given) => seed(...given), [5_000_000, urls[0]]);
      const begin = Date.now();
      assert.equal(await pages[1].evaluate((given) => download(...given), [magnet, urls[1]]), digest);
      t.diagnostic(`after ${Date.now() - begin} ms`);
    });

    for (const [client, joins] of [["Trystero's torrent strategy: a room of two", "join"], ["P2PT: two peers", "meet"]]) {
      test(client, limit, async (t) => {
        const pages = await open();
        const begin = Date.now();
        await Promise.all(pages.map((page, i) => page.evaluate(([joins, ...given]) => window[joins](...given), [joins, ["one", "two"][i], "a room", urls[i]])));
        await both(t, pages, begin);
      });
    }
  });
}
