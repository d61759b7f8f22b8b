/** Signals that other programs send, and signals that the server refuses. */

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach } from "node:test";
import { openPage, startBrowser, stopBrowser, takeFaults } from "../support/browser.js";
import { startServer, stopServers } from "../support/server.js";
import { test } from "../support/test.js";
import { FORMS, badCandidates, tooLarge } from "../support/signals.js";

let server;
let small;
let alice;
let bob;
let round = 0;

before(async () => {
  [server, small] = await Promise.all([startServer(), startServer(["--max-body", "8KiB"]), startBrowser()]);
  [alice, bob] = await Promise.all([openPage(), openPage()]);
});
after(async () => {
  await stopBrowser();
  await stopServers();
});
beforeEach(() => round++);
afterEach(async () => {
  await Promise.all([alice, bob].map((page) => page.evaluate(() => cleanUp())));
  assert.deepEqual(takeFaults(), []);
});

for (const [what, entries] of FORMS) {
  test(`a peer that sends ${what} before its candidates is connected`, () => badCandidates(alice, bob, server.url, round, entries));
}

for (const side of ["caller", "answerer"]) {
  test(`an offer of the ${side} that the server refuses is reported once, and the connection continues`, () =>
    tooLarge(alice, bob, small.url, round, side));
}
