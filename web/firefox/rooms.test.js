/** Rooms of Firefox, alone and together with Chromium, through a real server. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { before, test } from "node:test";
import { launch, launchFirefox, person } from "../e2e/browser.js";
import { cleanUp } from "../e2e/hooks.js";
import { startServer } from "../e2e/server.js";

/** Functions that the SDK's tests use in pages. */
const common = readFileSync(new URL("../sdk/test/support/page.js", import.meta.url), "utf8");

/** Timeout of a test, for busy machines. */
const LIMIT = { timeout: 120_000 };

let server, firefox, chromium;

before(async () => {
  [server, firefox, chromium] = await Promise.all([startServer(), launchFirefox(), launch({ names: false })]);
});
// A bye may reach an inbox that has just been closed.
cleanUp(() => [firefox, chromium], { provoked: true });

/** Opens a page that enters a room, and says hello on a channel to everyone whom it is connected to. */
async function enter(browser, name, id) {
  const page = await person(browser);
  await page.goto(server.local);
  await page.evaluate(async () => void Object.assign(globalThis, await import("/inbox.js"), await import("/rooms.js")));
  await page.evaluate(common);
  await page.evaluate(async ([name, id]) => {
    globalThis.inbox = openInbox("inbox", id);
    globalThis.peers = {};
    globalThis.heard = {};
    const setup = (pc, peer) => {
      const channel = pc.createDataChannel("chat", { negotiated: true, id: 0 });
      channel.onopen = () => channel.send(`hello from ${id}`);
      channel.onmessage = ({ data }) => (heard[peer] = data);
    };
    globalThis.room = await join(inbox, name, { setup });
    void (async () => {
      for await (const { peer, pc } of room.peers()) peers[peer] = pc;
    })();
  }, [name, id]);
  return page;
}

/** Waits until a page is connected to these peers and no others, and has heard each of them. */
const meets = (page, others) => page.evaluate((others) => until(() =>
  Object.entries(peers).filter(([, pc]) => pc).map(([id]) => id).sort().join() === others.join() &&
  others.every((id) => peers[id].connectionState === "connected" && heard[id] === `hello from ${id}`)), others);

const together = {
  "three pages of Firefox": () => [firefox, firefox, firefox],
  "two pages of Firefox and one of Chromium": () => [firefox, chromium, firefox],
};

for (const [who, browsers] of Object.entries(together)) {
  test(`${who} connect to each other, and again to one that comes back`, LIMIT, async () => {
    const name = `room of ${who}`;
    const ids = ["ann", "bob", "cid"].map((id) => `${id} of ${who}`);
    const pages = await Promise.all(browsers().map((browser, i) => enter(browser, name, ids[i])));
    const all = (present) => Promise.all(present.map((i) => meets(pages[i], ids.filter((_, k) => k !== i && present.includes(k)))));
    await all([0, 1, 2]);
    assert.deepEqual(await Promise.all(pages.map((page) => page.evaluate(() => [...room.members].sort()))), [ids, ids, ids]);

    await pages[1].evaluate(() => room.leave());
    await all([0, 2]);
    await pages[1].close();
    pages[1] = await enter(browsers()[1], name, ids[1]);
    await all([0, 1, 2]);

    // A closed connection is made again.
    await pages[0].evaluate((id) => {
      delete heard[id];
      peers[id].close();
    }, ids[2]);
    await pages[0].evaluate((id) => until(() => heard[id]), ids[2]);
    await all([0, 1, 2]);
  });
}
