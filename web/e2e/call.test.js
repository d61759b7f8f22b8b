/** Two people call each other: they see, hear and write to each other. */

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { cleanUp } from "./hooks.js";
import { startServer } from "./server.js";
import {
  areConnected, assertNoFaults, calls, hears, launch, person, reaches, problemEnds, sees, step, until, waits, writes,
} from "./browser.js";

let browser;
/** A server with default settings, one with TLS, and one with a base path. */
let server, secure, below;

before(async () => {
  [server, secure, below, browser] = await Promise.all([
    startServer(),
    startServer(["--tls", "self-signed"]),
    startServer(["--base-path", "/signal/here/"]),
    launch(),
  ]);
});
cleanUp(() => browser);

/** Checks video, sound and chat in both directions. */
async function talk(alice, bob) {
  await areConnected(alice, bob);
  await Promise.all([sees(alice), sees(bob), hears(alice), hears(bob)]);
  await writes(alice, bob, "hello, Bob");
  await writes(bob, alice, "<b>hello</b>, Alice 👋");
}

test("a call over HTTP on localhost works step by step", async () => {
  const [alice, bob] = await Promise.all([person(browser), person(browser)]);
  const link = await waits(alice, server.local);
  assert.match(link, /^http:\/\/localhost:\d+\/call#to=[a-z0-9]{26}$/);
  await calls(bob, link);
  await talk(alice, bob);
  for (const name of ["inbox-open", "called", "connecting", "connected"]) await step(alice, name);
  for (const name of ["inbox-open", "accepted", "connecting", "connected"]) await step(bob, name);
  assert.match(await alice.innerText("#status"), /Connected directly/);
  assert.ok(["host", "prflx"].includes(await alice.getAttribute("body", "data-path")));
  assert.ok(!server.log().includes(new URL(link).hash.slice(4)), "the server logged an id");

  await bob.click("#hang-up");
  await reaches(bob, "ended");
  await reaches(alice, "ended");
  assert.match(await alice.innerText("#over"), /hung up/);
  for (const page of [alice, bob]) {
    assert.equal(await page.$eval("#own", (video) => video.srcObject?.active ?? false), false, "the camera is still on");
    assert.equal(await page.isDisabled("#text"), true);
  }

  // After a call, the page rings and leaves the camera off.
  await bob.click("#again");
  await reaches(alice, "ringing");
  await alice.click("#answer");
  await talk(alice, bob);
  await alice.click("#hang-up");
  await reaches(bob, "ended");
});

test("a call works with --tls self-signed at an IP address", async () => {
  const [alice, bob] = await Promise.all([person(browser), person(browser)]);
  assert.match(secure.url, /^https:/);
  await calls(bob, await waits(alice, secure.url));
  await talk(alice, bob);
});

test("a call below a base path works between two browser processes", async () => {
  const other = await launch();
  const [alice, bob] = await Promise.all([person(browser), person(other)]);
  const link = await waits(alice, below.local);
  assert.match(link, /\/signal\/here\/call#to=/);
  await calls(bob, link);
  await talk(alice, bob);
  await other.close();
});

test("a page that is reloaded in a call returns to it, on either side", async () => {
  const [alice, bob] = await Promise.all([person(browser), person(browser)]);
  await calls(bob, await waits(alice, server.local), { wish: "none" });
  await areConnected(alice, bob);
  for (const [reloaded, other] of [[bob, alice], [alice, bob]]) {
    await reloaded.reload();
    await step(other, "away");
    await step(other, "returned");
    await areConnected(alice, bob);
    await sees(bob);
    await writes(other, reloaded, `welcome back ${reloaded === bob}`);
    await other.evaluate(() => document.querySelectorAll("#log [data-step]").forEach((line) => line.remove()));
  }
  await bob.close({ runBeforeUnload: true });
  await step(alice, "away");
  await alice.click("#hang-up");
  await reaches(alice, "ended");
});

test("a reloaded page shows the video even if the browser wants a click before it plays sound", async () => {
  const [alice, bob] = await Promise.all([person(browser), person(browser)]);
  // Chromium usually keeps the permission of the click before the reload, but not always.
  await bob.addInitScript(() => {
    const { play } = HTMLMediaElement.prototype;
    HTMLMediaElement.prototype.play = function () {
      return this.muted || navigator.userActivation.isActive ? play.call(this) : Promise.reject(new DOMException("", "NotAllowedError"));
    };
  });
  await calls(bob, await waits(alice, server.local), { wish: "none" });
  await areConnected(alice, bob);
  await bob.reload();
  await step(alice, "returned");
  await areConnected(alice, bob);
  await sees(bob);
  assert.equal(await bob.$eval("#remote", (video) => video.muted), true);
  await bob.click("[data-problem='silent'] button");
  await problemEnds(bob, "silent");
  await Promise.all([sees(bob), hears(bob)]);
});

test("a page that waits keeps its link after a reload", async () => {
  const [alice, bob] = await Promise.all([person(browser), person(browser)]);
  const link = await waits(alice, server.local);
  await alice.reload();
  await reaches(alice, "waiting");
  assert.equal(await alice.inputValue("#link"), link);
  await calls(bob, link, { wish: "none" });
  await areConnected(alice, bob);
});

test("the other side sees when microphone or camera are switched off", async () => {
  const [alice, bob] = await Promise.all([person(browser), person(browser)]);
  await calls(bob, await waits(alice, server.local), { wish: "microphone" });
  await areConnected(alice, bob);
  await sees(bob);
  await alice.waitForSelector("body[data-their-camera='off'][data-their-microphone='on']");
  assert.equal(await bob.isDisabled("#camera-off"), true);

  await alice.click("#mute");
  await alice.click("#camera-off");
  await bob.waitForSelector("body[data-their-camera='off'][data-their-microphone='off']");
  await bob.waitForSelector("#stand-in:visible");
  assert.equal(await alice.getAttribute("#mute", "data-pressed"), "true");
  await alice.click("#camera-off");
  await bob.waitForSelector("body[data-their-camera='on']");
  await sees(bob);
});

test("a screen replaces the camera, even without a camera, and the other side sees when it ends", async () => {
  const [alice, bob] = await Promise.all([person(browser), person(browser)]);
  await calls(bob, await waits(alice, server.local), { wish: "none" });
  await areConnected(alice, bob);
  const screens = () => window.connections.at(-1).getSenders().filter(({ track }) => track?.getSettings().displaySurface).length;
  for (const [one, other] of [[alice, bob], [bob, alice]]) {
    await one.click("#share-screen");
    await step(one, "screen");
    await step(other, "their-screen");
    assert.equal(await one.evaluate(screens), 1);
    await other.waitForSelector("body[data-their-camera='on'][data-their-screen='on']");
    await sees(other);
    assert.equal(await one.getAttribute("#share-screen", "data-pressed"), "true");
  }
  await alice.click("#share-screen");
  await step(alice, "no-screen");
  assert.equal(await alice.evaluate(screens), 0);
  await bob.waitForSelector("body[data-their-camera='on'][data-their-screen='off']");
  await sees(bob);
  // The effect of the browser's own button.
  await bob.evaluate(() => {
    const { track } = window.connections.at(-1).getSenders().find(({ track }) => track?.getSettings().displaySurface);
    track.stop();
    track.dispatchEvent(new Event("ended"));
  });
  await alice.waitForSelector("body[data-their-camera='off'][data-their-screen='off']");
  await writes(alice, bob, "back to the camera");
});

test("another camera can be chosen during a call", async () => {
  const several = await launch({ devices: 3 });
  const [alice, bob] = await Promise.all([person(several), person(browser)]);
  await calls(bob, await waits(alice, server.local), { wish: "none" });
  await areConnected(alice, bob);
  await alice.click("#mute");
  await bob.waitForSelector("body[data-their-microphone='off']");
  await alice.click("#choose-devices");
  await alice.waitForSelector("#devices[open]");
  const sent = () => window.connections.at(-1).getSenders().map(({ track }) => track?.label);
  const labels = await alice.locator("#choose-camera option").allInnerTexts();
  assert.equal(labels.length, 3);
  assert.ok((await alice.evaluate(sent)).includes(labels[0]));
  // The second one is a depth camera with another kind of picture.
  const chosen = labels[2];
  await alice.selectOption("#choose-camera", { label: chosen });
  await until(alice, async (chosen) => window.connections.at(-1).getSenders().some(({ track }) => track?.label === chosen), chosen);
  await alice.keyboard.press("Escape");
  await alice.waitForSelector("#devices", { state: "hidden" });
  await sees(bob);
  // The microphone stays muted.
  assert.equal(await bob.getAttribute("body", "data-their-microphone"), "off");
  await several.close();
});

test("a call to a chosen id rings, and a third caller reads that they are in a call", async () => {
  const [alice, bob, carol] = await Promise.all([person(browser), person(browser), person(browser)]);
  const link = await waits(alice, server.local, { id: "alice", ask: true, wish: "none" });
  await calls(bob, link, { id: "bob", wish: "none" });
  await reaches(alice, "ringing");
  await alice.click("#decline");
  await reaches(bob, "ended");
  assert.equal(await bob.getAttribute("body", "data-ending"), "declined");
  await reaches(alice, "waiting");

  await bob.click("#again");
  await reaches(alice, "ringing");
  await alice.click("#answer");
  await areConnected(alice, bob);

  await calls(carol, link, { wish: "none" });
  await reaches(carol, "ended");
  assert.equal(await carol.getAttribute("body", "data-ending"), "busy");
  assert.match(await carol.innerText("#over"), /already in a call/);
  await writes(bob, alice, "we still talk");
});

test("two people who call each other at the same time share one call, even when both restart ICE", async () => {
  const [alice, bob] = await Promise.all([person(browser), person(browser)]);
  const link = (id) => new URL(`call#to=${id}`, server.local).href;
  await Promise.all([
    calls(alice, link("bob-glare"), { id: "alice-glare", wish: "none" }),
    calls(bob, link("alice-glare"), { id: "bob-glare", wish: "none" }),
  ]);
  await areConnected(alice, bob);
  await Promise.all([problemEnds(alice, "no-such-inbox"), problemEnds(bob, "no-such-inbox")]);
  await writes(alice, bob, "one call");
  await writes(bob, alice, "yes, one");

  // Both restart ICE at the same time: two offers cross.
  const fragment = () => /a=ice-ufrag:(\S+)/.exec(window.connections.at(-1).currentLocalDescription.sdp)[1];
  const before = await Promise.all([alice.evaluate(fragment), bob.evaluate(fragment)]);
  await Promise.all([alice, bob].map((page) => page.evaluate(() => window.connections.at(-1).restartIce())));
  for (const [i, page] of [alice, bob].entries()) {
    await page.waitForFunction((before) => {
      const { signalingState, connectionState, currentLocalDescription } = window.connections.at(-1);
      return signalingState === "stable" && connectionState === "connected" && !currentLocalDescription.sdp.includes(before);
    }, `a=ice-ufrag:${before[i]}`);
  }
  await writes(alice, bob, "still one call");
  // The first caller calls an id without an inbox.
  await Promise.all(browser.contexts().map((context) => context.close()));
  assertNoFaults({ provoked: true });
});

test("ids of any characters work and never become markup", async () => {
  const ids = [
    ["<img src=x onerror=alert(1)>", "100% & + ? # / \\ \"'`"],
    ["Zoë 👩‍🚀 とり", "a b  c%20d%3Cb%3E"],
  ];
  for (const [first, second] of ids) {
    const [alice, bob] = await Promise.all([person(browser), person(browser)]);
    await calls(bob, await waits(alice, server.local, { id: first, wish: "none" }), { id: second, wish: "none" });
    await areConnected(alice, bob);
    await writes(bob, alice, "<script>alert(1)</script><img src=x onerror=alert(2)>");
    for (const [page, id] of [[alice, second], [bob, first]]) {
      const markup = "#log :not(li, bdi, span, time, details, summary, p), #status bdi *, #notices li, #room bdi *, img[src=x]";
      assert.equal(await page.locator(markup).count(), 0, "a name or a message became markup");
      assert.ok(!(await page.innerText("body")).includes(id), "an id is shown");
    }
    await Promise.all([alice.context().close(), bob.context().close()]);
  }
});
