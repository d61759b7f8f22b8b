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

const tried = Object.keys(targets).filter((target) => target !== "peerjs-server" || process.env.INBOX_COMPARE);
const servers = new Map(tried.map((target) => [target, new Map()]));

const add = (target) => ([title, run]) => test(title, { timeout: 120_000 }, async () => {
  const fails = target === "peerjs-server" && title.startsWith("+");
  const stage = new Stage(target, servers.get(target), fails ? 8_000 : 30_000);
  try {
    if (fails) await assert.rejects(run(stage), /Timeout/, "peerjs-server has learned this: say so in docs/peerjs.md");
    else await run(stage);
  } finally {
    await stage.end();
  }
});

// Most of their time they wait, so all servers are tried at once.
describe("one at a time and together", { concurrency: tried.length }, () => {
  for (const target of tried) describe(target, { concurrency: 4 }, () => Object.entries(cases).forEach(add(target)));
});
describe("many", () => {
  for (const target of tried) describe(target, () => Object.entries(large).forEach(add(target)));
});
