/** Group calls: up to six people see, hear and write to each other. */

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { placeAround, placeTiles } from "../demo/assets/grid.js";
import { assertAccessible } from "./axe.js";
import { assertNoFaults, closeBrowsers, launch, person, problemEnds, problemText, reaches, runsUntil, walled } from "./browser.js";
import { events, hearsAll, isWith, joins, people, seesAll, tileOf } from "./group.js";
import { startServer, stopServers } from "./server.js";
import { showState, states } from "./states.js";

let browser, server;

before(async () => {
  [server, browser] = await Promise.all([
    startServer(["--tls", "self-signed", "--inbox-ttl", "4s"]),
    launch({ flags: ["--host-resolver-rules=MAP inbox.test 127.0.0.1"] }),
  ]);
});
after(async () => {
  await closeBrowsers();
  await stopServers();
});
afterEach(async () => {
  await Promise.all(browser.contexts().map((context) => context.close()));
  assertNoFaults({ provoked: true });
});

let rooms = 0;
/** Returns the link to a new room, at an address that other devices reach. */
const newLink = ({ url } = server) => `${url.replace("127.0.0.1", "inbox.test")}call#room=room-${++rooms}`;

/** Opens pages that join one room, without devices unless they have a wish. */
async function gather(names, { link = newLink(), wish = "none", options } = {}) {
  const pages = await people(browser, names.length, options);
  await Promise.all(pages.map((page, i) => joins(page, link, { name: names[i], wish })));
  await Promise.all(pages.map((page, i) => isWith(page, ...names.filter((_, other) => other !== i))));
  return { pages, link };
}

/** Sends a chat message and waits until all others have it. */
async function tells(from, others, text) {
  await from.fill("#text", text);
  await from.press("#text", "Enter");
  await Promise.all(others.map((page) => page.locator("#log [data-kind='theirs'] > bdi", { hasText: text }).waitFor()));
}

test("a person starts a group call, looks at the own picture, and another one joins with the link", async () => {
  const [alice, bob] = await people(browser, 2);
  await alice.goto(`${server.url.replace("127.0.0.1", "inbox.test")}call`);
  await alice.fill("#name", "Alice");
  await alice.click("#group");
  await alice.waitForSelector("#setup[data-mode='group']");
  assert.match(alice.url(), /\/call#room=[0-9a-z]{26}$/);
  assert.equal(await alice.inputValue("#name"), "Alice");
  assert.equal(await alice.evaluate(() => window.asked), undefined, "the camera was opened without a click");
  await alice.click("#look");
  await alice.waitForFunction(() => document.getElementById("preview-own").videoWidth > 0);
  await alice.check("#quiet");
  await alice.click("#start");
  await isWith(alice);
  assert.equal(await alice.evaluate(() => window.asked), 1, "the camera was opened twice");
  assert.equal(await alice.inputValue("#link"), alice.url());
  assert.match(await alice.innerText("#invite"), /up to five people/);
  assert.match(await alice.innerText("#status"), /Waiting for others/);

  await joins(bob, alice.url(), { name: "Bob" });
  await Promise.all([isWith(alice, "Bob"), isWith(bob, "Alice")]);
  await Promise.all([seesAll(alice), seesAll(bob), hearsAll(alice, 1)]);
  assert.equal(await alice.isVisible("#invite"), false);
  assert.match(await alice.innerText("#status"), /2 people in the call/);
  assert.deepEqual([await events(alice, "joined"), await events(bob, "present")], [["Bob joined the call."], ["Alice is in the call."]]);
  await bob.waitForSelector(`${tileOf("Alice")}[data-microphone="off"]`);
  await alice.waitForSelector(`${tileOf("Bob")}[data-microphone="on"][data-speaks]`);
  assert.ok(!server.log().includes(new URL(alice.url()).hash.slice(6)), "the server logged the name of the room");

  await bob.click("#hang-up");
  await reaches(bob, "ended");
  assert.match(await bob.innerText("#over"), /You left the call/);
  assert.equal(await bob.$eval("#own", (video) => video.srcObject?.active ?? false), false, "the camera is still on");
  await isWith(alice);
  assert.deepEqual(await events(alice, "gone"), ["Bob left the call."]);
  await bob.click("#again");
  await Promise.all([isWith(alice, "Bob"), isWith(bob, "Alice")]);
  assert.deepEqual([await events(alice, "joined"), await events(alice, "back")], [["Bob joined the call."], ["Bob is back."]]);
});

test("six people see, hear and write to each other, and a seventh joins when one has left", async () => {
  const names = ["Ann", "Ben", "Cleo", "Dan", "Eve", "Fay"];
  const { pages, link } = await gather(names, { wish: "both" });
  await Promise.all(pages.map((page) => Promise.all([seesAll(page), hearsAll(page, 5)])));
  await tells(pages[2], pages.filter((page) => page !== pages[2]), "hello, all of you");
  assert.match(await pages[0].innerText("#log [data-kind='theirs']"), /^Cleo:\s+hello/);
  // Each video is limited to what a phone can send to five others.
  for (const page of pages) {
    const limits = await page.evaluate(() => window.connections.filter(({ connectionState }) => connectionState === "connected")
      .map((one) => one.getSenders().find(({ track }) => track?.kind === "video").getParameters().encodings[0].maxBitrate));
    assert.deepEqual(limits, Array(5).fill(500_000));
  }

  const [gil] = await people(browser, 1);
  await joins(gil, link, { name: "Gil", wish: "none" });
  await reaches(gil, "ended");
  assert.match(await gil.innerText("#over"), /Six people are already in this call/);
  await gil.evaluate(() => delete document.body.dataset.ending);
  await gil.click("#again");
  await gil.waitForSelector("body[data-state='ended'][data-ending='full']");
  for (const page of pages) assert.equal(await page.locator(".tile").count(), 5);

  await pages[5].click("#hang-up");
  await isWith(pages[0], ...names.slice(1, 5));
  await gil.click("#again");
  await Promise.all([isWith(gil, ...names.slice(0, 5)), ...pages.slice(0, 5).map((page, i) => isWith(page, ...names.slice(0, 5).filter((_, other) => other !== i), "Gil"))]);
  await seesAll(gil);
  for (const page of pages.slice(0, 5)) assert.deepEqual([(await events(page, "gone")).length, (await events(page, "joined")).filter((text) => text.startsWith("Gil")).length], [1, 1]);
});

test("a page that reloads returns, muted as before, and one that crashes disappears", async () => {
  const { pages: [alice, bob, carol] } = await gather(["Alice", "Bob", "Carol"], { wish: "both" });
  await bob.click("#mute");
  await alice.waitForSelector(`${tileOf("Bob")}[data-microphone="off"]`);
  await tells(alice, [bob, carol], "before the reload");
  await bob.reload();
  await Promise.all([isWith(alice, "Bob", "Carol"), isWith(bob, "Alice", "Carol"), isWith(carol, "Alice", "Bob")]);
  await alice.waitForSelector(`${tileOf("Bob")}[data-microphone="off"]`);
  assert.match(await bob.innerText("#log"), /Alice:\s+before the reload/);
  await Promise.all([seesAll(alice), seesAll(bob)]);

  const session = await carol.context().newCDPSession(carol);
  session.send("Page.crash").catch(() => {});
  await Promise.all([isWith(alice, "Bob"), isWith(bob, "Alice")]);
  assert.ok((await events(alice, "gone")).includes("Carol left the call."));
});

test("muting, switching the camera off and sharing a screen reach everyone, and the screen gets the most room", async () => {
  const { pages: [alice, bob, carol] } = await gather(["Alice", "Bob", "Carol"], { wish: "both" });
  await alice.click("#mute");
  await alice.click("#camera-off");
  for (const page of [bob, carol]) {
    const tile = page.locator(tileOf("Alice"));
    await tile.and(page.locator("[data-microphone='off'][data-camera='off']")).waitFor();
    assert.equal(await tile.locator(".muted").isVisible(), true);
    assert.equal(await tile.locator("video").isVisible(), false);
  }
  assert.equal(await alice.locator("#own-tile .muted").isVisible(), true);

  await bob.click("#share-screen");
  for (const page of [alice, carol]) {
    await page.waitForSelector(`${tileOf("Bob")}[data-screen="true"]`);
    assert.deepEqual(await events(page, "their-screen"), ["Bob is sharing a screen."]);
    await page.waitForFunction(() => {
      const sizes = [...document.querySelectorAll(".tile, .own-tile")].map((tile) => [tile.dataset.screen === "true", tile.clientWidth * tile.clientHeight]);
      const [, large] = sizes.find(([screen]) => screen);
      return sizes.every(([screen, size]) => screen || size < large / 3);
    });
  }
  await bob.click("#stop-sharing");
  for (const page of [alice, carol]) await page.waitForSelector(`${tileOf("Bob")}[data-screen="false"]`);
  await Promise.all([carol, alice].map((page) => page.waitForFunction(() => new Set([...document.querySelectorAll(".tile, .own-tile")].map(({ clientWidth }) => clientWidth)).size === 1)));
});

test("a code leads into the room, and the page that shows it stays in the call", async () => {
  const { pages: [alice, bob], link } = await gather(["Alice", "Bob"]);
  await alice.click("#add-people");
  assert.equal(await alice.isVisible("#invite"), true);
  await alice.click("#get-code");
  await alice.waitForSelector("#code-shown strong");
  const code = await alice.innerText("#code-shown strong");
  await assertAccessible(alice, "the invitation");
  const [carol] = await people(browser, 1);
  await carol.goto(`${server.url.replace("127.0.0.1", "inbox.test")}call`);
  await carol.fill("#code", code.toLowerCase());
  await carol.press("#code", "Enter");
  await carol.waitForSelector("#setup[data-mode='group']");
  assert.equal(carol.url(), link);
  await carol.fill("#name", "Carol");
  await carol.check("input[value='none']", { force: true });
  await carol.click("#start");
  await Promise.all([isWith(alice, "Bob", "Carol"), isWith(bob, "Alice", "Carol"), isWith(carol, "Alice", "Bob")]);
  await alice.click("#close-invite");
  assert.equal(await alice.isVisible("#invite"), false);
});

test("hostile names, messages and states stay harmless", async () => {
  const [alice, bob] = await people(browser, 2);
  await bob.addInitScript(() => {
    const { createDataChannel } = RTCPeerConnection.prototype;
    RTCPeerConnection.prototype.createDataChannel = function (label, options) {
      return (window.words = createDataChannel.call(this, label, options));
    };
  });
  const link = newLink();
  await joins(alice, link, { name: "Alice", wish: "none" });
  await isWith(alice);
  await joins(bob, link, { name: "Bob", wish: "none" });
  await isWith(alice, "Bob");
  const say = (message) => bob.evaluate((message) => window.words.send(typeof message === "string" ? message : JSON.stringify(message)), message);
  const hostile = [
    ["<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)>"],
    ["\u202Egnp.exe", "gnp.exe"],
    ["one\ntwo", "one two"],
    ["x".repeat(9000), "x".repeat(40)],
    [42, null], [null, null], [" ", null],
  ];
  for (const [name, shown] of hostile) {
    await say({ type: "name", name });
    await alice.waitForFunction((shown) => {
      const text = document.querySelector(".tile bdi").textContent;
      return shown === null ? /^[A-Z][a-z]+ [A-Z][a-z]+$/.test(text) : text === shown;
    }, shown);
  }
  for (const data of ["{", "null", "[]", "x".repeat(20_000), { type: "media", camera: "yes", microphone: {}, screen: [] }, { type: "text", text: { toString: 1 } }, { type: "bye" }, { type: "text", text: "<b>bold</b>" }]) await say(data);
  await alice.locator("#log [data-kind='theirs'] > bdi", { hasText: "<b>bold</b>" }).waitFor();
  await alice.waitForSelector(".tile[data-camera='off'][data-microphone='off'][data-screen='false']");
  assert.equal(await alice.locator("#tiles bdi *, #log bdi *, img[src=x]").count(), 0);
  assert.equal(await alice.locator("#log [data-kind='theirs']").count(), 1);
});

test("while the server is away, a group call continues, and a newcomer waits until it is back", async () => {
  const mortal = await startServer(["--tls", "self-signed"]);
  const { pages: [alice, bob], link } = await gather(["Alice", "Bob"], { link: newLink(mortal) });
  const [carol] = await people(browser, 1);
  await carol.goto(link);
  await carol.fill("#name", "Carol");
  await carol.check("input[value='none']", { force: true });
  await mortal.kill();
  await carol.click("#start");
  await Promise.all([alice, bob, carol].map((page) => problemText(page, "server-away")));
  await tells(alice, [bob], "still here");
  await startServer(["--tls", "self-signed"], { port: mortal.port });
  await Promise.all([alice, bob, carol].map((page) => problemEnds(page, "server-away")));
  await Promise.all([isWith(alice, "Bob", "Carol"), isWith(bob, "Alice", "Carol"), isWith(carol, "Alice", "Bob")]);
  assert.deepEqual(await events(alice, "gone"), []);
});

test("a browser that blocks calls says so on both sides", async () => {
  const restricted = await launch({ flags: ["--host-resolver-rules=MAP inbox.test 127.0.0.1", "--force-webrtc-ip-handling-policy", "--webrtc-ip-handling-policy=disable_non_proxied_udp"] });
  // A relay over TCP would offer a path even under this policy.
  const bare = await startServer(["--turn", "off", "--tls", "self-signed"]);
  const link = newLink(bare);
  const [[alice], [bob]] = await Promise.all([people(browser, 1), people(restricted, 1)]);
  await joins(alice, link, { name: "Alice", wish: "none" });
  await isWith(alice);
  await joins(bob, link, { name: "Bob", wish: "none" });
  assert.match(await problemText(bob, "no-candidates"), /blocks calls/);
  await reaches(alice, "connecting");
  assert.match(await alice.innerText(".tile"), /Connecting|Trying again/);
  await bob.context().close();
  await isWith(alice);
});

test("two people without a path between them read why, and the page keeps trying", async () => {
  const bare = await startServer(["--turn", "off", "--tls", "self-signed"]);
  const [alice, bob] = await Promise.all([walled(browser), walled(browser)]);
  const link = newLink(bare);
  await joins(alice, link, { name: "Alice", wish: "none" });
  await isWith(alice);
  await bob.clock.install();
  await joins(bob, link, { name: "Bob", wish: "none" });
  await bob.waitForSelector(".tile[data-state='connecting']");
  await runsUntil(bob, async () => (await bob.locator(".tile[data-state='slow']").count()) > 0);
  await runsUntil(bob, async () => (await events(bob, "apart")).length > 0);
  assert.match(await bob.innerText(".tile"), /Someone|Trying/);
  assert.match((await events(bob, "apart"))[0], /^You could not be connected to someone\. .*\. This page tries again\.$/);
  assert.match(await bob.innerText("#notices"), /connect/);
});

test("a link with an impossible name says that it is incomplete", async () => {
  const page = await person(browser);
  await page.goto(`${server.url}call#room=a%3Ab`);
  await problemText(page, "broken-link");
  assert.equal(await page.getAttribute("#setup", "data-mode"), "wait");
});

test("a duplicated tab asks before it takes the place of the other", async () => {
  const { pages: [alice, bob] } = await gather(["Alice", "Bob"]);
  const [copy] = await Promise.all([alice.context().waitForEvent("page"), alice.evaluate(() => void window.open(location.href))]);
  await reaches(copy, "elsewhere");
  await tells(bob, [alice], "still the first tab");
  await copy.click("#move-here");
  await Promise.all([isWith(copy, "Bob"), isWith(bob, "Alice"), reaches(alice, "stopped")]);
  await tells(bob, [copy], "and now the second");
});

test("on every screen, the tiles are inside the window, apart from each other and of one shape, and the buttons are large", async () => {
  const screens = [[320, 568], [320, 640], [390, 844], [568, 320], [844, 390], [768, 1024], [1280, 800], [1920, 1080]];
  const page = await person(browser, { reducedMotion: "reduce" });
  for (const state of states.filter(({ name }) => /^group-([2-6]|screen|apart)$/.test(name))) {
    await page.setViewportSize({ width: 1280, height: 800 });
    await showState(page, server.url.replace("127.0.0.1", "inbox.test"), state);
    for (const [width, height] of screens) {
      await page.setViewportSize({ width, height });
      const found = await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => {
        const box = (element) => element.getBoundingClientRect().toJSON();
        const tiles = [...document.querySelectorAll(".tile, .own-tile")];
        resolve({
          tiles: tiles.map(box), screens: tiles.map(({ dataset }) => dataset.screen === "true"), names: tiles.map((tile) => box(tile.querySelector("figcaption"))),
          controls: box(document.getElementById("controls")), buttons: [...document.querySelectorAll("#controls button:not([hidden])")].map(box),
          wide: document.documentElement.scrollWidth, high: document.documentElement.scrollHeight,
        });
      }))));
      const where = `${state.name} at ${width} × ${height}`;
      assert.ok(found.wide <= width && found.high <= height, `${where}: the page scrolls`);
      const apart = (a, b) => a.right <= b.left + 0.5 || b.right <= a.left + 0.5 || a.bottom <= b.top + 0.5 || b.bottom <= a.top + 0.5;
      const within = (a, b) => a.left >= b.left - 0.5 && a.right <= b.right + 0.5 && a.top >= b.top - 0.5 && a.bottom <= b.bottom + 0.5;
      const shapes = new Set(found.tiles.filter((_, i) => !found.screens[i]).map((tile) => (tile.width / tile.height).toFixed(1)));
      assert.equal(shapes.size, 1, `${where}: tiles of different shapes`);
      for (const [i, tile] of found.tiles.entries()) {
        assert.ok(within(tile, { left: 0, top: 0, right: width, bottom: height }), `${where}: a tile leaves the window`);
        assert.ok(tile.width >= 48 && tile.height >= 36, `${where}: a tile of ${tile.width} × ${tile.height}`);
        assert.ok(apart(tile, found.controls), `${where}: the controls cover a tile`);
        assert.ok(within(found.names[i], tile), `${where}: a name leaves its tile`);
        for (const other of found.tiles.slice(i + 1)) assert.ok(apart(tile, other), `${where}: tiles overlap`);
      }
      for (const button of found.buttons) {
        assert.ok(button.width >= 43.5 && button.height >= 43.5, `${where}: a button of ${button.width} × ${button.height}`);
        assert.ok(within(button, { left: 0, top: 0, right: width, bottom: height }), `${where}: a button leaves the window`);
      }
    }
  }
});

test("tiles are as large as the area allows", () => {
  const columns = (count, width, height) => new Set(placeTiles(count, { width, height }, 8).map(({ left }) => Math.round(left))).size;
  assert.deepEqual([1, 2, 4].map((count) => columns(count, 1200, 700)), [1, 2, 2]);
  assert.deepEqual([1, 2, 4].map((count) => columns(count, 360, 500)), [1, 1, 2]);
  assert.deepEqual([6].map((count) => [columns(count, 360, 500), columns(count, 1200, 700)]), [[2, 3]]);
  const [first, large] = placeAround(4, 1, { width: 1000, height: 560 }, 8);
  assert.ok(large.left === 0 && large.height === 560 && first.left >= large.width);
  const [above, below] = placeAround(4, 0, { width: 360, height: 500 }, 8);
  assert.ok(above.left === 0 && above.width === 360 && below.top >= above.height);
});
