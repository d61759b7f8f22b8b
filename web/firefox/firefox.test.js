/** Firefox and Chromium connect through a real server, with the SDK and on the pages. */

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import {
  areConnected, assertNoFaults, calls, closeBrowsers, hears, launch, launchFirefox, person, reaches, sees, step, waits, writes,
} from "../e2e/browser.js";
import * as files from "../e2e/files.js";
import { startServer, stopServers } from "../e2e/server.js";
import { IMPOSTORS, closeAndOpen, isNoInbox, startImpostor, traced } from "../sdk/test/support/scenarios.js";
import { FORMS, badCandidates, tooLarge } from "../sdk/test/support/signals.js";

const downloads = mkdtempSync(join(tmpdir(), "inbox-firefox-"));
/** Functions that the SDK's tests use in pages. */
const common = readFileSync(new URL("../sdk/test/support/page.js", import.meta.url), "utf8");

/** Timeout of a test, for busy machines. */
const LIMIT = { timeout: 120_000 };

let server, firefox, chromium;

before(async () => {
  [server, firefox, chromium] = await Promise.all([startServer(), launchFirefox({ downloads }), launch({ names: false })]);
});
after(async () => {
  await closeBrowsers();
  await stopServers();
  rmSync(downloads, { recursive: true, force: true });
});
afterEach(async () => {
  await Promise.all([firefox, chromium].flatMap((browser) => browser.contexts().map((context) => context.close())));
  // A bye may reach an inbox that has just been closed.
  assertNoFaults({ provoked: true });
});

/** Opens a page of the server with the SDK. The start page may only connect to its own origin. */
async function withSDK(browser, address = server.local) {
  const page = await person(browser);
  await page.goto(address);
  await page.evaluate(async () => void Object.assign(globalThis, await import("/inbox.js")));
  await page.evaluate(common);
  return page;
}

/** All pairs of caller and callee. */
const ways = {
  "Firefox calls Chromium": () => [firefox, chromium],
  "Chromium calls Firefox": () => [chromium, firefox],
  "Firefox calls Firefox": () => [firefox, firefox],
};

let round = 0;

for (const [way, who] of Object.entries(ways)) {
  for (const transport of ["socket", "stream", "poll"]) {
    test(`${way}, over ${transport}: channels, tracks, a change of network and the ending work`, LIMIT, async () => {
      const [alice, bob] = await Promise.all(who().map((browser) => withSDK(browser)));
      const [a, b] = [`alice ${++round}`, `bob ${round}`];
      const add = async ([id, transport]) => {
        globalThis.inbox = openInbox("inbox", id, { transports: [transport] });
        globalThis.got = [];
        globalThis.setup = async (pc) => {
          pc.ontrack = ({ track }) => got.push(track.kind);
          pc.ondatachannel = ({ channel }) => (channel.onmessage = ({ data }) => channel.send(`${inbox.id} heard ${data}`));
          const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
          for (const track of stream.getTracks()) pc.addTrack(track, stream);
        };
      };
      await Promise.all([alice.evaluate(add, [a, transport]), bob.evaluate(add, [b, transport])]);
      await bob.evaluate(() => answerAll(inbox, { setup }));
      const heard = await alice.evaluate(async (b) => {
        globalThis.pc = await connect(inbox, b, { setup });
        await until(() => got.length === 2);
        return [inbox.transport, await talk(pc)];
      }, b);
      assert.deepEqual(heard, [transport, `${b} heard hello`]);
      await bob.evaluate(() => until(() => got.length === 2));
      const again = await alice.evaluate(async () => {
        const before = ufrag(pc);
        dispatchEvent(new Event("online"));
        await until(() => ufrag(pc) !== before && pc.signalingState === "stable" && pc.connectionState === "connected");
        return talk(pc, "once more");
      });
      assert.equal(again, `${b} heard once more`);
      // A reload ends the call.
      const ended = alice.evaluate(async () => (await pc.ended).code);
      await bob.reload();
      assert.equal(await ended, "ended");
    });
  }
}

test("two peers that call each other at the same time get one connection, ten times", LIMIT, async () => {
  const [alice, bob] = await Promise.all([withSDK(firefox), withSDK(chromium)]);
  for (let i = 0; i < 10; i++) {
    const [a, b] = [`alice ${++round}`, `bob ${round}`];
    await Promise.all([[alice, a], [bob, b]].map(([page, id]) => page.evaluate((id) => answerAll((globalThis.inbox = openInbox("inbox", id))), id)));
    const heard = await Promise.all([[alice, b], [bob, a]].map(([page, peer]) => page.evaluate(async (peer) => {
      const setup = (pc) => (pc.ondatachannel = ({ channel }) => (channel.onmessage = ({ data }) => channel.send(`${inbox.id} heard ${data}`)));
      globalThis.pc = await connect(inbox, peer, { setup });
      return talk(pc);
    }, peer)));
    assert.deepEqual(heard, [`${b} heard hello`, `${a} heard hello`]);
    assert.deepEqual(await Promise.all([alice, bob].map((page) => page.evaluate(() => liveConnections()))), [1, 1]);
    await Promise.all([alice, bob].map((page) => page.evaluate(() => cleanUp())));
  }
});

for (const [way, who] of Object.entries(ways)) {
  test(`${way}, and unusual candidates before the real ones are harmless`, LIMIT, async () => {
    for (const [, entries] of FORMS) {
      const [alice, bob] = await Promise.all(who().map((browser) => withSDK(browser)));
      await badCandidates(alice, bob, "inbox", ++round, entries);
    }
  });
}

for (const side of ["caller", "answerer"]) {
  test(`Firefox as ${side} makes an offer that the server rejects: one error, and the connection continues`, LIMIT, async () => {
    const small = await startServer(["--max-body", "8KiB"]);
    const browsers = side === "caller" ? [firefox, chromium] : [chromium, firefox];
    const [alice, bob] = await Promise.all(browsers.map((browser) => withSDK(browser, small.local)));
    await tooLarge(alice, bob, "inbox", ++round, side);
  });
}

for (const transport of ["socket", "stream", "poll"]) {
  test(`Firefox over ${transport}: an inbox that is closed and immediately reopened works`, LIMIT, async () => {
    await closeAndOpen(await withSDK(firefox), "inbox", `twice ${++round}`, transport);
  });
}

test("Firefox: a page that adds tracing headers can use every transport", LIMIT, async () => {
  await traced(await withSDK(firefox, new URL("healthz", server.local).href), new URL("inbox", server.url).href, `traced ${++round}`);
});

test("Firefox: the SDK detects servers that are not inbox", LIMIT, async () => {
  const impostor = await startImpostor();
  try {
    const page = await withSDK(firefox, new URL("healthz", server.local).href);
    for (const [what, [, , , code]] of Object.entries(IMPOSTORS)) await isNoInbox(page, impostor.urlOf(what), code);
    assertNoFaults({ provoked: true, expected: /establish a connection/ });
  } finally {
    impostor.stop();
  }
});

for (const [way, who] of Object.entries(ways)) {
  test(`the call page: ${way}, and they see, hear and write to each other, even after a reload`, LIMIT, async () => {
    const [bob, alice] = await Promise.all(who().map((browser) => person(browser)));
    await calls(bob, await waits(alice, server.local));
    await areConnected(alice, bob);
    await Promise.all([sees(alice), sees(bob), hears(alice), hears(bob)]);
    await writes(alice, bob, "hello, Bob");
    await writes(bob, alice, "hello, Alice 👋");
    await bob.reload();
    await step(alice, "returned");
    await areConnected(alice, bob);
    await Promise.all([sees(alice), sees(bob)]);
    await bob.click("#hang-up");
    await Promise.all([reaches(bob, "ended"), reaches(alice, "ended")]);
    assert.match(await alice.innerText("#over"), /hung up/);
  });
}

/** Waits for a complete file in the downloads of Firefox. */
async function downloaded({ name, size }) {
  const path = join(downloads, name);
  const is = () => statSync(path, { throwIfNoEntry: false })?.size === size && !statSync(`${path}.part`, { throwIfNoEntry: false });
  for (const deadline = performance.now() + 60_000; !is(); await new Promise((resolve) => setTimeout(resolve, 50))) {
    assert.ok(performance.now() < deadline, `${name} is not in the downloads`);
  }
  return { suggestedFilename: () => name, path: () => path };
}

test("the call page: names, ringing, duplicated tabs and missing WebRTC work in Firefox", LIMIT, async () => {
  const [alice, bob] = await Promise.all([person(firefox), person(chromium)]);
  await calls(bob, await waits(alice, server.local, { name: "Zoë 👩‍🚀", ask: true, wish: "none" }), { name: "\u202EBob", wish: "none" });
  await reaches(alice, "ringing");
  await alice.click("#answer");
  await areConnected(alice, bob);
  for (const [page, name] of [[alice, "Bob"], [bob, "Zoë 👩‍🚀"]]) {
    await page.waitForFunction((name) => document.getElementById("status-text").textContent.endsWith(`\u2068${name}\u2069`), name);
  }
  await writes(bob, alice, "look at https://example.com/.");
  assert.equal(await alice.locator("#log a").getAttribute("href"), "https://example.com/");

  const [copy] = await Promise.all([
    alice.context().waitForEvent("page"),
    alice.evaluate(() => void window.open(location.href)),
  ]);
  await reaches(copy, "elsewhere");
  await writes(bob, alice, "still the first tab");
  await copy.click("#move-here");
  await areConnected(copy, bob);
  await reaches(alice, "stopped");

  const without = await person(firefox);
  await without.addInitScript(() => delete window.RTCPeerConnection);
  await without.goto(`${server.local}call`);
  await reaches(without, "unable");
});

test("the files page: 20 MB arrive in both directions", LIMIT, async () => {
  const [alice, bob] = await Promise.all([person(firefox), person(chromium)]);
  await alice.goto(`${server.local}files`);
  await reaches(alice, "waiting");
  await bob.goto(await alice.inputValue("#link"));
  await files.areConnected(alice, bob);
  assert.equal(await alice.isHidden("#in-memory"), true);
  const [there, back] = ["from Firefox.bin", "from Chromium.bin"].map((name) => files.makeFile(name, 20 * files.MB));
  await Promise.all([files.chooses(alice, there), files.chooses(bob, back)]);
  const arriving = files.download(bob);
  await Promise.all([files.press(bob, there, "Receive"), files.press(alice, back, "Receive")]);
  await Promise.all([files.arrives(bob, there, arriving), files.arrives(alice, back, downloaded(back))]);
  await Promise.all([files.becomes(alice, there, "done"), files.becomes(bob, back, "done")]);
});

test("the files page: 40 files and a folder from Chromium arrive in the downloads of Firefox", LIMIT, async () => {
  const [alice, bob] = await Promise.all([person(chromium), person(firefox)]);
  await alice.goto(`${server.local}files`);
  await reaches(alice, "waiting");
  await bob.goto(await alice.inputValue("#link"));
  await files.areConnected(alice, bob);
  const many = Array.from({ length: 40 }, (_, i) => files.makeFile(`to Firefox ${i}.txt`, 1000 + i));
  await files.chooses(alice, ...many);
  const folder = join(files.makeDirectory(), "Album");
  mkdirSync(join(folder, "within"), { recursive: true });
  writeFileSync(join(folder, "within", "page.txt"), "a page");
  await alice.setInputFiles("#choose-directory", folder);
  await files.showsText(bob, { name: "Album" }, "It arrives as one archive");
  assert.equal(await bob.isHidden("#accept-directory"), true);
  await bob.click("#accept-all");
  for (const file of many) assert.equal(await files.digestOf((await downloaded(file)).path()), file.digest);
  const archive = join(downloads, "Album.zip");
  await downloaded({ name: "Album.zip", size: 30 + 46 + 16 + 22 + 2 * "Album/within/page.txt".length + "a page".length });
  assert.ok(readFileSync(archive).includes("a page"));
});
