/** During a call: the own video, the buttons and the chat. */

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { cleanUp } from "./hooks.js";
import { startServer } from "./server.js";
import { areConnected, calls, launch, person, reaches, step, waits, writes } from "./browser.js";

let browser, server;

before(async () => {
  [server, browser] = await Promise.all([startServer(), launch()]);
});
cleanUp(() => browser);

/** Connects two people. */
async function call(options = {}) {
  const [alice, bob] = await Promise.all([person(browser, options.alice), person(browser)]);
  const link = await waits(alice, server.local, { wish: options.wish ?? "none" });
  await calls(bob, link, { wish: "none" });
  await areConnected(alice, bob);
  return { alice, bob, link };
}

test("a person who shares the screen always sees that, and can stop it there", async () => {
  for (const viewport of [{ width: 1200, height: 800 }, { width: 390, height: 844 }]) {
    const { alice, bob } = await call({ alice: { viewport } });
    assert.equal(await alice.isVisible("#sharing"), false);
    await alice.click("#share-screen");
    await step(alice, "screen");
    await bob.waitForSelector("#their-screen:visible");
    for (let i = 0; i < 40; i++) await writes(bob, alice, `line ${i}`); // the log has scrolled far down
    assert.match(await alice.innerText("#sharing"), /You are sharing your screen/);
    const box = await alice.locator("#sharing").boundingBox();
    assert.ok(box.x >= 0 && box.y >= 0 && box.x + box.width <= viewport.width && box.y + box.height <= viewport.height);
    await alice.click("#stop-sharing");
    await alice.waitForSelector("#sharing", { state: "hidden" });
    await step(alice, "no-screen");
    await bob.waitForSelector("#their-screen", { state: "hidden" });
    await Promise.all([alice, bob].map((page) => page.context().close()));
  }
});

test("the own tile stays when the camera is off, and says so", async () => {
  const { alice } = await call({ wish: "both" });
  assert.equal(await alice.isVisible("#own"), true);
  assert.equal(await alice.isVisible("#own-off"), false);
  await alice.click("#camera-off");
  await alice.waitForSelector("#own", { state: "hidden" });
  assert.match(await alice.innerText("#own-off"), /camera is off/);
  await alice.click("#camera-off");
  await alice.waitForSelector("#own:visible");
  assert.equal(await alice.isVisible("#own-off"), false);
});

test("every round button shows its label on hover and on focus, and the label follows its state", async () => {
  const { alice } = await call({ wish: "both" });
  const tip = (id) => alice.$eval(id, (button) => {
    const { content, visibility } = getComputedStyle(button, "::after");
    return visibility === "visible" ? content : undefined;
  });
  const buttons = await alice.$$eval(".round:not([hidden])", (buttons) => buttons.map(({ id }) => `#${id}`));
  assert.ok(buttons.length >= 5);
  for (const id of buttons) {
    assert.equal(await tip(id), undefined);
    await alice.hover(id);
    assert.equal(await tip(id), JSON.stringify(await alice.getAttribute(id, "aria-label")));
    await alice.mouse.move(0, 0);
  }
  await alice.focus("#mute");
  await alice.keyboard.press("Tab");
  await alice.keyboard.press("Shift+Tab");
  assert.equal(await tip("#mute"), '"Mute microphone"');
  await alice.keyboard.press("Enter");
  assert.equal(await tip("#mute"), '"Unmute microphone"');
});

test("web addresses in the chat become links, and nothing else does", async () => {
  const { alice, bob } = await call();
  const linked = [
    ["see https://example.com/a?b=c#d, please", ["https://example.com/a?b=c#d"]],
    ["(https://en.wikipedia.org/wiki/Inbox_(email)) and http://localhost:3000/call.", ["https://en.wikipedia.org/wiki/Inbox_(email)", "http://localhost:3000/call"]],
    ["HTTPS://EXAMPLE.COM", ["https://example.com/"]],
    ["javascript:alert(1) data:text/html,x file:///etc/passwd ftp://example.com vbscript:x", []],
    ["https://bank.example@evil.example/ https:// http://[::", []],
    ["<a href=https://example.com>click</a>", ["https://example.com/"]],
    ["https://example.com/\u202Efdp.exe", ["https://example.com/fdp.exe"]],
    ["nothttps://example.com", []],
  ];
  for (const [i, [text, expected]] of linked.entries()) {
    await writes(bob, alice, `– ${i}`); // a separator between the texts
    await bob.fill("#text", text);
    await bob.press("#text", "Enter");
    const line = alice.locator("#log [data-kind='theirs']").last();
    await line.filter({ hasNotText: "–" }).waitFor();
    const found = await line.locator("a").evaluateAll((links) => links.map(({ href, target, rel }) => ({ href, target, rel })));
    assert.deepEqual(found, expected.map((href) => ({ href: new URL(href).href, target: "_blank", rel: "noopener noreferrer nofollow" })));
    assert.equal(await line.locator(":not(bdi, span, time, a)").count(), 0);
    assert.doesNotMatch(await line.innerText(), /[\u202a-\u202e\u2066-\u2069]/);
  }
  // The link opens in a new tab, and the call continues.
  await bob.fill("#text", `${server.local}healthz`);
  await bob.press("#text", "Enter");
  const link = alice.locator("#log a", { hasText: "healthz" });
  const [opened] = await Promise.all([alice.context().waitForEvent("page"), link.click()]);
  assert.equal(await opened.evaluate(() => window.opener), null);
  await opened.close();
  await writes(bob, alice, "still here");
});

test("the chat survives a reload, and the next call starts without it", async () => {
  const { alice, bob, link } = await call();
  await writes(alice, bob, "one, from Alice");
  await writes(bob, alice, "two, <b>from Bob</b>");
  const chat = () => [...document.querySelectorAll("#log :is([data-kind='mine'], [data-kind='theirs'])")]
    .map((line) => `${line.dataset.kind}: ${line.querySelector("bdi").textContent}`);
  const before = await alice.evaluate(chat);
  await alice.reload();
  await areConnected(alice, bob);
  assert.deepEqual(await alice.evaluate(chat), before);
  assert.deepEqual(before, ["mine: one, from Alice", "theirs: two, <b>from Bob</b>"]);
  await writes(bob, alice, "three");
  await alice.reload();
  await areConnected(alice, bob);
  assert.deepEqual(await alice.evaluate(chat), [...before, "theirs: three"]);

  await bob.click("#hang-up");
  await reaches(alice, "ended");
  await alice.click("#over [data-leave]");
  await reaches(alice, "setup");
  await alice.click("#start");
  await reaches(alice, "waiting");
  assert.deepEqual(await alice.evaluate(chat), []);
  assert.ok(link);
});

test("the page says before a call that a call is for two", async () => {
  const alice = await person(browser);
  await alice.goto(`${server.local}call`);
  assert.match(await alice.innerText("#setup"), /call is for two/);
  await alice.goto(`${server.local}call#to=somebody`);
  assert.match(await alice.innerText("#setup"), /call is for two/);
});
