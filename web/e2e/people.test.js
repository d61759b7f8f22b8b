/** Names instead of ids, and one tab at a time for each id. */

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { startServer } from "./server.js";
import { areConnected, calls, launch, person, reaches, problemText, until, waits, writes } from "./browser.js";
import { cleanUp } from "./hooks.js";

let browser, server;

before(async () => {
  [server, browser] = await Promise.all([
    startServer(),
    launch({ flags: ["--host-resolver-rules=MAP inbox.test 127.0.0.1"] }),
  ]);
});
cleanUp(() => browser, { provoked: true });

/** Returns the places in which a page names the other person. */
const named = async (page) => [await page.innerText("#status"), await page.title(), await page.textContent("#stand-in-text")];

/** Fails if an id is visible outside the link. */
async function showsNoId(page, ...ids) {
  const seen = await page.evaluate(() => document.title + document.body.innerText);
  for (const id of ids) assert.ok(!seen.includes(id), "an id is shown");
}

test("typed names are shown, even after a reload, and ids are not", async () => {
  const [alice, bob] = await Promise.all([person(browser), person(browser)]);
  const link = await waits(alice, server.local, { name: "Zoë 👩‍🚀", wish: "none" });
  const id = decodeURIComponent(new URL(link).hash.slice(4));
  await calls(bob, link, { name: "  Bob   Builder ", wish: "none" });
  await areConnected(alice, bob);
  for (const [page, name] of [[alice, "Bob Builder"], [bob, "Zoë 👩‍🚀"]]) {
    await page.waitForFunction((name) => document.getElementById("status-text").textContent.includes(name), name);
    for (const text of await named(page)) assert.ok(text.includes(name), `“${text}” lacks ${name}`);
    await showsNoId(page, id);
  }
  assert.ok(!server.log().includes("Builder"), "the server logged a name");

  await bob.reload();
  await areConnected(alice, bob);
  for (const text of await named(bob)) assert.ok(text.includes("Zoë 👩‍🚀"), text);
  // The device keeps the name for the next call.
  const later = await bob.context().newPage();
  await later.goto(`${server.local}call`);
  assert.equal(await later.inputValue("#name"), "Bob Builder");
});

test("a person who types no name gets a friendly one, the same on both sides", async () => {
  const [alice, bob] = await Promise.all([person(browser), person(browser)]);
  await alice.goto(`${server.local}call`);
  const own = await alice.getAttribute("#name", "placeholder");
  assert.match(own, /^[A-Z][a-z]+ [A-Z][a-z]+$/);
  await alice.check('input[name="wish"][value="none"]', { force: true });
  await alice.click("#start");
  await reaches(alice, "waiting");
  const link = await alice.inputValue("#link");
  await bob.goto(link);
  await showsNoId(bob, new URL(link).hash.slice(4));
  await calls(bob, link, { wish: "none" });
  await reaches(alice, "ringing");
  assert.match(await alice.innerText("#status"), /Someone is calling you/);
  await alice.click("#answer");
  await areConnected(alice, bob);
  await bob.waitForFunction((name) => document.getElementById("status-text").textContent.includes(name), own);
  await alice.waitForFunction(() => /[A-Z][a-z]+ [A-Z][a-z]+\u2069$/.test(document.getElementById("status-text").textContent));
});

test("a name from a hostile page becomes one harmless line", async () => {
  const [alice, bob] = await Promise.all([person(browser), person(browser)]);
  const link = await waits(alice, server.local, { name: "Alice", wish: "none" });
  await bob.addInitScript(() => {
    const { createDataChannel } = RTCPeerConnection.prototype;
    RTCPeerConnection.prototype.createDataChannel = function (label, options) {
      const channel = createDataChannel.call(this, label, options);
      if (label === "words") window.words = channel;
      return channel;
    };
  });
  await calls(bob, link, { name: "Bob", wish: "none" });
  await areConnected(alice, bob);
  const hostile = [
    ["\u202Egnp.exe", "gnp.exe"],
    ["\u2066a\u2069\u200B\u0000\u0007b", "ab"],
    ["one\ntwo\r\n\u2028three", "one two three"],
    ["<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)>"],
    ["x".repeat(9000), "x".repeat(40)],
    [`Z${"\u0301".repeat(200)}oe`, "Ź\u0301\u0301\u0301\u0301oe"],
    ["\uD83D", null], ["\u3164\u2800", null], ["\u0301\u0302x", null], [" ", null], [42, null], [{ toString: "x" }, null], [null, null],
  ];
  for (const [name, shown] of hostile) {
    await bob.evaluate((name) => window.words.send(JSON.stringify({ type: "name", name })), name);
    await alice.waitForFunction(([shown]) => {
      const text = document.getElementById("status-text").textContent;
      const name = /\u2068(.*)\u2069$/u.exec(text)?.[1];
      return shown === null ? /^[A-Z][a-z]+ [A-Z][a-z]+$/.test(name) : name === shown;
    }, [shown]);
    assert.equal(await alice.locator("#status bdi *, img[src=x]").count(), 0);
  }
  await writes(bob, alice, "still here");
});

/** Opens a copy of a tab with its session storage, as browsers do when a person duplicates a tab. */
async function duplicate(page) {
  const [copy] = await Promise.all([
    page.context().waitForEvent("page"),
    page.evaluate(() => void window.open(location.href)),
  ]);
  await copy.waitForLoadState();
  return copy;
}

for (const [where, url] of [
  ["on localhost", () => server.local],
  ["over plain HTTP, without Web Locks", () => server.url.replace("127.0.0.1", "inbox.test")],
]) {
  test(`a duplicated tab asks before it takes a call over, ${where}`, async () => {
    const [alice, bob] = await Promise.all([person(browser), person(browser)]);
    await calls(bob, await waits(alice, url(), { wish: "none" }), { wish: "none" });
    await areConnected(alice, bob);
    const copy = await duplicate(alice);
    await reaches(copy, "elsewhere");
    assert.equal(await copy.locator("#notices li").count(), 0);
    await writes(bob, alice, "still the first tab");
    // It asks again after a reload, and the call stays in the first tab.
    await copy.reload();
    await reaches(copy, "elsewhere");
    await writes(bob, alice, "still");

    await copy.click("#move-here");
    await areConnected(copy, bob);
    await problemText(alice, "replaced");
    await reaches(alice, "stopped");
    await writes(bob, copy, "and now the second");
    // The first tab takes the call back.
    await alice.click("[data-problem='replaced'] button");
    await areConnected(alice, bob);
    await reaches(copy, "stopped");

    const third = await duplicate(alice);
    await reaches(third, "elsewhere");
    await third.click("#new-call");
    await reaches(third, "setup");
    await third.click("#start");
    await reaches(third, "waiting");
    assert.notEqual(await third.inputValue("#link"), await alice.inputValue("#link"));
    await writes(bob, alice, "undisturbed");
  });
}

test("a duplicated tab leaves the camera off while its original is in a call", async () => {
  const [alice, bob] = await Promise.all([person(browser), person(browser)]);
  await calls(bob, await waits(alice, server.local), { wish: "none" });
  await areConnected(alice, bob);
  await alice.context().addInitScript(() => {
    const { getUserMedia } = MediaDevices.prototype;
    MediaDevices.prototype.getUserMedia = function (...given) {
      window.asked = true;
      return getUserMedia.apply(this, given);
    };
  });
  const copy = await duplicate(alice);
  await reaches(copy, "elsewhere");
  assert.equal(await copy.evaluate(() => window.asked), undefined);
  await until(copy, async () => !document.getElementById("own").srcObject);
  await writes(bob, alice, "one camera");
});
