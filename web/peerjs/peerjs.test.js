/**
 * Every case against inbox, and with INBOX_COMPARE against peerjs-server too. What that
 * one fails is known, and held to.
 */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { cases, large } from "./cases.js";
import { Stage, startBrowser, stopAll, targets } from "./support.js";

before(startBrowser);
after(stopAll);

for (const target of Object.keys(targets)) {
  if (target === "peerjs-server" && !process.env.INBOX_COMPARE) continue;
  const servers = new Map();
  const add = ([title, run]) => test(title, { timeout: 120_000 }, async () => {
    const fails = target === "peerjs-server" && title.startsWith("+");
    const stage = new Stage(target, servers, fails ? 8_000 : 30_000);
    try {
      if (fails) await assert.rejects(run(stage), /Timeout/, "peerjs-server has learned this: say so in docs/peerjs.md");
      else await run(stage);
    } finally {
      await stage.end();
    }
  });
  describe(target, () => {
    // Most of their time they wait.
    describe("one at a time and together", { concurrency: 4 }, () => Object.entries(cases).forEach(add));
    describe("many", () => Object.entries(large).forEach(add));
  });
}
