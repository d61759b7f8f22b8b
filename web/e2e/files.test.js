/** Files arrive undamaged in another browser, or the page explains why not. */

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { cleanUp } from "./hooks.js";
import { startServer } from "./server.js";
import { assertNoFaults, launch, launchSleeper, person, reaches, until } from "./browser.js";
import { MB, areConnected, arrives, becomes, chooses, download, gate, hasParts, makeFile, pair, press, row, showsText } from "./files.js";

let browser, server;

before(async () => {
  [server, browser] = await Promise.all([startServer(), launch({ camera: false })]);
});
cleanUp(() => browser);

test("a small file, an empty one and one of whole parts arrive, in both directions", async () => {
  const [alice, bob] = await pair(browser, server);
  const files = [makeFile("small.txt", 11), makeFile("empty", 0), makeFile("two parts.bin", 2 * 4 * 2 ** 20)];
  const back = makeFile("back.bin", 5 * MB);
  await Promise.all([chooses(alice, ...files), chooses(bob, back)]);
  for (const file of files) {
    await becomes(bob, file, "offered");
    const arriving = download(bob);
    await press(bob, file, "Receive");
    await arrives(bob, file, arriving);
    await becomes(alice, file, "done");
  }
  const arriving = download(alice);
  await press(alice, back, "Receive");
  await arrives(alice, back, arriving);
  await becomes(bob, back, "done");

  // A file can be saved again; Remove deletes its parts.
  const again = download(bob);
  await press(bob, files[2], "Save again");
  await arrives(bob, files[2], again);
  await hasParts(bob, 3);
  for (const file of files) await press(bob, file, "Remove");
  await bob.waitForSelector("#incoming", { state: "hidden" });
  await until(bob, async () => {
    const all = await (await navigator.storage.getDirectory()).getDirectoryHandle("inbox-files");
    for await (const _ of all.keys()) return false;
    return true;
  });
});

test("files chosen before the connection are offered after it, and can be received together", async () => {
  const files = [1, 2, 3, 4, 5].map((n) => makeFile(`${n}.txt`, n * 1000));
  const [alice, bob] = await pair(browser, server);
  await bob.click("#leave");
  await alice.waitForSelector("body[data-ending='bye']");
  await chooses(alice, ...files);
  await showsText(alice, files[0], "as soon as you are connected");
  await bob.click("#again");
  await bob.click("#accept-all");
  for (const file of files) await Promise.all([becomes(alice, file, "done"), becomes(bob, file, "done")]);
});

test("200 MB arrive with progress, and a bounded part of them is in memory", async () => {
  const [alice, bob] = await pair(browser, server);
  const file = makeFile("large.bin", 200 * MB);
  await alice.evaluate(() => {
    const { send } = RTCDataChannel.prototype;
    window.sent = window.most = 0;
    RTCDataChannel.prototype.send = function (data) {
      send.call(this, data);
      if (typeof data === "string") return;
      window.sent += data.byteLength;
      window.most = Math.max(window.most, this.bufferedAmount);
    };
  });
  // A disk that does not accept writes yet.
  await bob.evaluate(() => {
    const { createWritable } = FileSystemFileHandle.prototype;
    const free = new Promise((resolve) => (window.free = resolve));
    FileSystemFileHandle.prototype.createWritable = async function (...given) {
      if (this.name !== "opened") await free;
      return createWritable.apply(this, given);
    };
  });
  await chooses(alice, file);
  const arriving = download(bob);
  await press(bob, file, "Receive");
  const window4 = 4 * 4 * 2 ** 20;
  await alice.waitForFunction((window4) => window.sent >= window4, window4);
  // Messages still arrive while the sender waits with more bytes.
  const next = makeFile("next.txt", 10);
  await chooses(alice, next);
  await becomes(bob, next, "offered");
  await press(bob, next, "Decline");
  await becomes(alice, next, "cancelled");
  assert.equal(await alice.evaluate(() => window.sent), window4);
  await bob.evaluate(() => window.free());

  for (const page of [alice, bob]) {
    await showsText(page, file, /\d+ % of 200 MB · .*B\/s · .*left/);
    await row(page, file).locator("progress[value]").waitFor();
  }
  await arrives(bob, file, arriving);
  await becomes(alice, file, "done");
  assert.ok(await alice.evaluate(() => window.most) < 2 * 2 ** 20, "too much waits in the channel");
});

/** Starts a transfer of three parts and stops after the first. */
async function begun(name) {
  const [alice, bob] = await pair(browser, server, { sender: gate });
  const file = makeFile(name, 3 * 4 * 2 ** 20 - 1);
  await alice.evaluate(() => window.allow(1));
  await chooses(alice, file);
  await press(bob, file, "Receive");
  await hasParts(bob, 1);
  return { alice, bob, file };
}

test("a transfer continues after the receiver reloads its page", async () => {
  const { alice, bob, file } = await begun("received.bin");
  await bob.reload();
  await areConnected(alice, bob);
  await becomes(bob, file, "going");
  await showsText(bob, file, /^33 % of 13 MB/);
  const arriving = download(bob);
  await alice.evaluate(() => window.allow(1000));
  await arrives(bob, file, arriving);
  await becomes(alice, file, "done");
  // Three parts, plus the one that was being read when the receiver left.
  assert.equal(await alice.evaluate(() => window.reads), 4);

  // A complete file stays complete.
  await Promise.all([alice.reload(), bob.reload()]);
  await areConnected(alice, bob);
  await Promise.all([becomes(alice, file, "done"), becomes(bob, file, "done")]);
});

test("a transfer continues after the sender reloads its page and chooses the file again", async () => {
  const { alice, bob, file } = await begun("sent.bin");
  await alice.reload();
  await areConnected(alice, bob);
  await showsText(alice, file, /Choose it again/);
  await showsText(bob, file, /They have to choose the file again/);
  const other = makeFile("other.bin", 10);
  await chooses(alice, other);
  await becomes(bob, other, "offered");
  await becomes(alice, file, "unreadable");
  await alice.evaluate(() => window.allow(1000));
  const arriving = download(bob);
  await chooses(alice, file);
  await arrives(bob, file, arriving);
  // Each part is read once; the first one only for its digest.
  assert.equal(await alice.evaluate(() => window.reads), 3);
});

test("a file that changed during the transfer is detected and not saved", async () => {
  const { alice, bob, file } = await begun("changed.bin");
  await alice.reload();
  await areConnected(alice, bob);
  const changed = makeFile("changed.bin", file.size);
  await alice.evaluate(() => window.allow(1000));
  let saved = false;
  bob.on("download", () => (saved = true));
  await chooses(alice, changed);
  await becomes(bob, file, "damaged");
  await becomes(alice, file, "damaged");
  assert.match(await row(bob, file).locator(".now").innerText(), /arrived damaged/);
  assert.equal(saved, false);
  const arriving = download(bob);
  await press(bob, file, "Receive again");
  await arrives(bob, changed, arriving);
});

/** Flips a bit in every chunk, or only in the first one. Runs in the page. */
function corrupt(always) {
  const send = RTCDataChannel.prototype.send;
  let flipped = 0;
  RTCDataChannel.prototype.send = function (data) {
    if (typeof data !== "string" && (always || flipped === 0)) {
      data = data.slice();
      data[data.length - 1] ^= 1;
      flipped++;
    }
    send.call(this, data);
  };
}

test("a damaged part is requested again; a file that stays damaged is not saved", async () => {
  const [alice, bob] = await pair(browser, server);
  const [once, always] = [makeFile("once.bin", 5 * MB), makeFile("always.bin", 1 * MB)];
  await alice.evaluate(corrupt, false);
  await chooses(alice, once, always);
  const arriving = download(bob);
  await press(bob, once, "Receive");
  await arrives(bob, once, arriving);

  await alice.evaluate(corrupt, true);
  let saved = false;
  bob.on("download", () => (saved = true));
  await press(bob, always, "Receive");
  await Promise.all([becomes(alice, always, "damaged"), becomes(bob, always, "damaged")]);
  assert.equal(saved, false);
  await press(bob, always, "Cancel");
  await becomes(alice, always, "cancelled");
});

test("damage on the receiver's disk is detected", async () => {
  const { alice, bob, file } = await begun("disk.bin");
  await bob.evaluate(async () => {
    const all = await (await navigator.storage.getDirectory()).getDirectoryHandle("inbox-files");
    for await (const one of all.values()) {
      const part = await (await one.getFileHandle("0")).createWritable({ keepExistingData: true });
      await part.write({ type: "write", position: 1000, data: new Uint8Array([1, 2, 3]) });
      await part.close();
    }
  });
  await alice.evaluate(() => window.allow(1000));
  await becomes(bob, file, "damaged");
  const arriving = download(bob);
  await press(bob, file, "Receive again");
  await arrives(bob, file, arriving);
});

test("either side can cancel before and during a transfer: the other one shows it, and no parts remain", async () => {
  const { alice, bob, file } = await begun("first.bin");
  const [second, third, fourth] = ["second.bin", "third.bin", "fourth.bin"].map((name) => makeFile(name, 9 * MB));
  await press(bob, file, "Cancel");
  await showsText(alice, file, "The other person cancelled it.");
  await hasParts(bob, 0);

  await alice.evaluate(() => window.allow(4));
  await chooses(alice, second, third, fourth);
  await press(bob, second, "Decline");
  await showsText(alice, second, "The other person declined it.");
  await press(alice, third, "Cancel");
  await showsText(bob, third, "The other person cancelled it.");
  await press(bob, fourth, "Receive");
  await hasParts(bob, 2);
  await press(alice, fourth, "Cancel");
  await showsText(bob, fourth, "The other person cancelled it.");
  await hasParts(bob, 0);

  // The next file is not blocked.
  await alice.evaluate(() => window.allow(1000));
  const last = makeFile("last.bin", 1 * MB);
  await chooses(alice, last);
  const arriving = download(bob);
  await press(bob, last, "Receive");
  await arrives(bob, last, arriving);
});

/** Starts a transfer from a computer that can fall asleep. */
async function beforeSleep(name) {
  const { browser: other, sleep, wake } = await launchSleeper({ camera: false });
  const [alice, bob] = await Promise.all([person(browser), person(other)]);
  await bob.addInitScript(gate);
  await alice.goto(`${server.local}files`);
  await reaches(alice, "waiting");
  await bob.goto(await alice.inputValue("#link"));
  await areConnected(alice, bob);
  const file = makeFile(name, 3 * 4 * 2 ** 20 - 1);
  await bob.evaluate(() => window.allow(1));
  await chooses(bob, file);
  await press(alice, file, "Receive");
  await hasParts(alice, 1);
  await alice.evaluate(() => (window.first = window.connections.at(-1)));
  const awake = async () => {
    wake();
    await areConnected(alice, bob);
    const arriving = download(alice);
    await bob.evaluate(() => window.allow(1000));
    await arrives(alice, file, arriving);
    await other.close();
  };
  return { alice, bob, file, sleep, awake };
}

test("a transfer continues after an interruption, and the page shows the interruption", async () => {
  const { alice, file, sleep, awake } = await beforeSleep("interrupted.bin");
  sleep();
  await reaches(alice, "reconnecting");
  await showsText(alice, file, "It continues when you are connected again.");
  await awake();
});

test("a transfer continues over a new connection after the first one was given up", async () => {
  const { alice, sleep, awake } = await beforeSleep("lost.bin");
  await alice.clock.install();
  sleep();
  await reaches(alice, "reconnecting");
  await alice.clock.runFor(65_000);
  await alice.waitForFunction(() => window.first.connectionState === "closed");
  await awake();
  assertNoFaults({ provoked: true }); // skipping a minute makes a handshake time out
});
