/** A group call of three people in Firefox and one in Chromium. */

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { assertNoFaults, closeBrowsers, launch, launchFirefox } from "../e2e/browser.js";
import { events, hearsAll, isWith, joins, people, seesAll, tileOf } from "../e2e/group.js";
import { startServer, stopServers } from "../e2e/server.js";

after(async () => {
  await closeBrowsers();
  await stopServers();
});

test("people in Firefox and in Chromium see, hear and write to each other in one room", { timeout: 120_000 }, async () => {
  const [server, firefox, chromium] = await Promise.all([startServer(), launchFirefox(), launch({ names: false })]);
  const link = `${server.local}call#room=firefox`;
  const names = ["Ann", "Ben", "Cleo", "Dan"];
  const pages = [...await people(firefox, 3), ...await people(chromium, 1)];
  const others = (/** @type {number} */ i) => names.filter((_, other) => other !== i);

  // Three in Firefox, and then the one in Chromium.
  await Promise.all(pages.slice(0, 3).map((page, i) => joins(page, link, { name: names[i] })));
  await Promise.all(pages.slice(0, 3).map((page, i) => isWith(page, ...others(i).slice(0, 2))));
  await Promise.all(pages.slice(0, 3).map((page) => Promise.all([seesAll(page), hearsAll(page, 2)])));
  await joins(pages[3], link, { name: names[3] });
  await Promise.all(pages.map((page, i) => isWith(page, ...others(i))));
  await Promise.all(pages.map((page) => Promise.all([seesAll(page), hearsAll(page, 3)])));

  const [ann, ben, cleo, dan] = pages;
  await ann.click("#mute");
  await Promise.all([ben, cleo, dan].map((page) => page.waitForSelector(`${tileOf("Ann")}[data-microphone="off"]`)));
  await ben.fill("#text", "hello, all of you");
  await ben.press("#text", "Enter");
  await Promise.all([ann, cleo, dan].map((page) => page.locator("#log [data-kind='theirs'] > bdi", { hasText: "hello, all of you" }).waitFor()));

  await ben.reload();
  await Promise.all(pages.map((page, i) => isWith(page, ...others(i))));
  await seesAll(ben);
  await cleo.click("#hang-up");
  await Promise.all([isWith(ann, "Ben", "Dan"), isWith(ben, "Ann", "Dan"), isWith(dan, "Ann", "Ben")]);
  assert.deepEqual((await events(dan, "gone")).slice(-1), ["Cleo left the call."]);
  assertNoFaults({ provoked: true });
});
