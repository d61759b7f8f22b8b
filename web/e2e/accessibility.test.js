/** The pages are accessible: with a keyboard, a screen reader, large text, a small screen, or strong contrast. */

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { cleanUp } from "./hooks.js";
import { startServer } from "./server.js";
import { areConnected, assertNoFaults, calls, launch, person, reaches, waits } from "./browser.js";
import { assertAccessible } from "./axe.js";
import { becomes, makeFile } from "./files.js";
import { isWith } from "./group.js";
import { assertSpoken, listen } from "./speech.js";
import { showState, states } from "./states.js";

/** Endings differ in their words only: these two stand for all. */
const endings = ["over-bye", "over-no-path"];
const shown = states.filter(({ name }) => !name.startsWith("over-") || endings.includes(name));

let browser, server;

before(async () => { [server, browser] = await Promise.all([startServer(), launch()]); });
cleanUp(() => browser);

/** Lists elements that are wider than the window, cut off, or too small for a finger. Runs in the page. */
function misplaced() {
  const found = [];
  const { scrollWidth } = document.documentElement;
  if (scrollWidth > innerWidth) found.push(`the page is ${scrollWidth} px wide`);
  const scrolls = (element) => {
    for (let parent = element.parentElement; parent; parent = parent.parentElement) if (["auto", "scroll"].includes(getComputedStyle(parent).overflowY)) return true;
    return getComputedStyle(document.body).overflowY !== "hidden";
  };
  for (const element of document.querySelectorAll("button, a.button, nav a, .brand, summary, select, input:not([type='file']), textarea")) {
    if (!element.checkVisibility({ visibilityProperty: true }) || element.closest("dialog:not([open])")) continue;
    if (document.querySelector("dialog[open]") && !element.closest("dialog")) continue;
    const target = ["checkbox", "radio"].includes(element.type) ? element.closest("label") : element;
    const { left, right, bottom, width, height } = target.getBoundingClientRect();
    const name = element.id || element.getAttribute("aria-label") || element.textContent;
    if (width < 43.5 || height < 43.5) found.push(`${name}: ${width} × ${height} px`);
    if (left < -0.5 || right > innerWidth + 0.5) found.push(`${name}: from ${left} to ${right} px`);
    if (bottom > innerHeight + 0.5 && !scrolls(target)) found.push(`${name}: ends ${bottom - innerHeight} px below the window`);
  }
  return found;
}

for (const path of new Set(shown.map(({ page }) => page))) {
  test(`/${path}: axe finds nothing in any state, and every state fits 320 px and 200 % zoom`, async () => {
    // Transitions would show colours between the two schemes.
    const page = await person(browser, { viewport: { width: 320, height: 640 }, reducedMotion: "reduce" });
    for (const state of shown.filter((state) => state.page === path)) {
      await page.emulateMedia({ colorScheme: "light" });
      await showState(page, server.local, state);
      assert.deepEqual(await page.evaluate(misplaced), [], `${state.name} at 320 px`);
      await assertAccessible(page, `${state.name}, light`);
      await page.emulateMedia({ colorScheme: "dark" });
      await assertAccessible(page, `${state.name}, dark`, ["color-contrast"]);
      await page.setViewportSize({ width: 640, height: 400 }); // a window of 1280 × 800 px, zoomed
      assert.deepEqual(await page.evaluate(misplaced), [], `${state.name} at 200 %`);
      await page.setViewportSize({ width: 320, height: 640 });
    }
    assertNoFaults({ expected: path === "nothing/here" ? /status of 404/ : undefined });
  });
}

/** The most that a page may load, in bytes, compressed. */
const budgets = { "": 12_000, "call": 80_000, "files": 105_000, "test": 70_000 };

test("each page describes itself, loads little and only from its server, and does not shift after loading", async () => {
  for (const [path, budget] of Object.entries(budgets)) {
    const page = await person(browser, { viewport: { width: 390, height: 844 } });
    const elsewhere = [];
    page.on("request", (request) => request.url().startsWith(server.local) || elsewhere.push(request.url()));
    await page.goto(`${server.local}${path}`, { waitUntil: "networkidle" });
    const facts = await page.evaluate(async () => {
      const content = (name) => document.querySelector(`meta[name="${name}"]`)?.content ?? "";
      const shift = await new Promise((resolve) => {
        let sum = 0;
        new PerformanceObserver((list) => {
          for (const { value } of list.getEntries()) sum += value;
        }).observe({ type: "layout-shift", buffered: true });
        requestAnimationFrame(() => setTimeout(() => resolve(sum), 100));
      });
      return {
        lang: document.documentElement.lang, title: document.title, description: content("description"), viewport: content("viewport"),
        themes: document.querySelectorAll('meta[name="theme-color"]').length, headings: document.querySelectorAll("h1:not([hidden] *)").length, shift,
        weight: performance.getEntries().reduce((sum, { encodedBodySize = 0 }) => sum + encodedBodySize, 0),
      };
    });
    assert.equal(facts.lang, "en");
    assert.match(facts.title, /^.{4,40} · inbox$|^inbox · .{4,40}$/);
    assert.ok(facts.description.length > 30 && facts.description.length < 160, facts.description);
    assert.match(facts.viewport, /width=device-width/);
    assert.doesNotMatch(facts.viewport, /maximum-scale|user-scalable/);
    assert.equal(facts.themes, 2);
    assert.equal(facts.headings, 1, `/${path} has one h1`);
    assert.ok(facts.shift < 0.05, `/${path} shifts by ${facts.shift}`);
    assert.ok(facts.weight > budget / 2 && facts.weight < budget, `/${path} loads ${facts.weight} bytes of at most ${budget}`);
    assert.deepEqual(elsewhere, []);
  }
});

/** Presses Tab until an element has the focus. Fails when the focus is lost or cannot be seen on the way. */
async function tabTo(page, selector, key = "Tab") {
  for (let presses = 0; presses < 40; presses++) {
    const [there, seen] = await page.evaluate((selector) => {
      const focused = document.activeElement;
      const { outlineStyle, outlineWidth } = getComputedStyle(focused);
      const box = focused.getBoundingClientRect();
      const seen = focused.checkVisibility({ visibilityProperty: true }) && box.bottom > 0 && box.top < innerHeight;
      const marked = focused.tabIndex < 0 || focused.type === "radio" || (outlineStyle !== "none" && parseFloat(outlineWidth) >= 2);
      return [focused.matches(selector), seen && marked ? "" : focused.outerHTML.slice(0, 200)];
    }, selector);
    assert.equal(seen, "", "the focus cannot be seen");
    if (there) return;
    await page.keyboard.press(key);
  }
  assert.fail(`${selector} cannot be reached with ${key}`);
}

/** Fails unless the focus is on an element, or in one. */
async function assertFocus(page, selector) {
  await page.waitForFunction((selector) => document.activeElement?.closest(selector) !== null, selector);
}

/** Moves to an element with Tab and presses Enter. */
async function enter(page, selector) {
  await tabTo(page, selector);
  await page.keyboard.press("Enter");
}

test("a whole call with the keyboard only", async () => {
  const [alice, bob] = await Promise.all([person(browser), person(browser)]);
  await alice.goto(`${server.local}call`);
  await reaches(alice, "setup");
  await tabTo(alice, "input[name='wish']");
  await alice.keyboard.press("ArrowDown");
  await alice.keyboard.press("ArrowDown");
  assert.equal(await alice.isChecked("input[value='none']"), true);
  await enter(alice, "#start");
  await reaches(alice, "waiting");
  await assertFocus(alice, "#invite h2");

  await bob.goto(await alice.inputValue("#link"));
  await enter(bob, "#start");
  await reaches(alice, "ringing");
  await assertFocus(alice, "#ringing h2");
  await enter(alice, "#answer");
  await areConnected(alice, bob);
  await assertFocus(alice, "#stage");

  await enter(bob, "#choose-devices");
  await assertFocus(bob, "#devices[open]");
  await bob.keyboard.press("Escape");
  await assertFocus(bob, "#choose-devices");
  await enter(bob, "#choose-devices");
  await assertFocus(bob, "#devices[open]");
  await enter(bob, "#devices-done");
  await assertFocus(bob, "#choose-devices");
  await tabTo(bob, "#mute", "Shift+Tab");
  await bob.keyboard.press("Space");
  await alice.waitForSelector("body[data-their-microphone='off']");

  await tabTo(alice, "#text");
  await alice.keyboard.type("typed without a mouse");
  await alice.keyboard.press("Enter");
  await bob.locator("#log [data-kind='theirs']", { hasText: "typed without a mouse" }).waitFor();
  await tabTo(alice, "#hang-up", "Shift+Tab");
  await alice.keyboard.press("Enter");
  for (const page of [alice, bob]) {
    await reaches(page, "ended");
    await assertFocus(page, "#over h2");
  }
  await enter(alice, "#over [data-leave]");
  await reaches(alice, "setup");
  await assertFocus(alice, "#setup-title");
});

test("a group call with the keyboard only, and screen readers announce who joins and leaves, once each", async () => {
  const [alice, bob] = await Promise.all([person(browser), person(browser)]);
  await alice.addInitScript(listen);
  await alice.goto(`${server.local}call`);
  await enter(alice, "#group");
  await alice.waitForSelector("#setup[data-mode='group']");
  await assertFocus(alice, "#setup-title");
  await tabTo(alice, "input[name='wish']");
  await alice.keyboard.press("ArrowUp");
  assert.equal(await alice.isChecked("input[value='none']"), true);
  await enter(alice, "#start");
  await isWith(alice);
  await assertFocus(alice, "#invite h2");

  await bob.goto(alice.url());
  await bob.fill("#name", "Bob");
  await enter(bob, "#start");
  await isWith(alice, "Bob");
  assert.equal(await alice.evaluate(() => document.activeElement.id), "stage");
  await enter(alice, "#add-people");
  await assertFocus(alice, "#invite h2");
  await alice.keyboard.press("Escape");
  await assertFocus(alice, "#add-people");
  await tabTo(alice, "#text");
  await alice.keyboard.type("typed without a mouse");
  await alice.keyboard.press("Enter");
  await bob.locator("#log [data-kind='theirs']", { hasText: "typed without a mouse" }).waitFor();
  await enter(bob, "#hang-up");
  await assertFocus(bob, "#over h2");
  await isWith(alice);
  await assertSpoken(alice, /^Bob joined the call/, /^Bob left the call/);
  await enter(bob, "#over [data-leave]");
  await reaches(bob, "setup");
  await assertFocus(bob, "#setup-title");
});

test("a file is sent, received and cleared with the keyboard only", async () => {
  const [alice, bob] = await Promise.all([person(browser), person(browser)]);
  await alice.goto(`${server.local}files`);
  await reaches(alice, "waiting");
  await bob.goto(await alice.inputValue("#link"));
  for (const page of [alice, bob]) await reaches(page, "connected");
  const file = makeFile("by keyboard.bin", 1000);
  const chooser = alice.waitForEvent("filechooser");
  await enter(alice, "#choose-files");
  await (await chooser).setFiles(file.path);
  await becomes(bob, file, "offered");
  const download = bob.waitForEvent("download");
  await enter(bob, "#incoming-list button");
  await download;
  for (const page of [alice, bob]) {
    await becomes(page, file, "done");
    await enter(page, "#clear-finished");
    await page.waitForSelector("#finished", { state: "hidden" });
    await assertFocus(page, "main h1, main h2, main button");
  }
});

test("screen readers announce ringing, connection and ending, once each", async () => {
  const [alice, bob] = await Promise.all([person(browser), person(browser)]);
  for (const page of [alice, bob]) await page.addInitScript(listen);
  await calls(bob, await waits(alice, server.local, { name: "Alice", ask: true, wish: "none" }), { name: "Bob", wish: "none" });
  await reaches(alice, "ringing");
  await alice.click("#answer");
  await areConnected(alice, bob);
  await bob.click("#hang-up");
  for (const page of [alice, bob]) await reaches(page, "ended");
  await assertSpoken(alice, /is calling you/, /^Connected/, /hung up/);
  await assertSpoken(bob, /ringing on their side/, /^Connected/, /You hung up/);

  for (const page of [alice, bob]) await page.goto(`${server.local}files`);
  await reaches(alice, "waiting");
  await bob.goto("about:blank");
  await bob.goto(await alice.inputValue("#link"));
  for (const page of [alice, bob]) await reaches(page, "connected");
  await bob.click("#leave");
  for (const page of [alice, bob]) await reaches(page, "ended");
  for (const page of [alice, bob]) await assertSpoken(page, /^Connected/, /disconnected/);
});

test("names and messages from right to left do not reorder what stands next to them", async () => {
  const page = await person(browser, { viewport: { width: 1280, height: 800 } });
  /** The horizontal place of a text in an element. */
  const place = (selector, text) => page.evaluate(([selector, text]) => {
    const walker = document.createTreeWalker(document.querySelector(selector), NodeFilter.SHOW_TEXT);
    for (let node; (node = walker.nextNode());) {
      const at = node.data.indexOf(text);
      if (at < 0) continue;
      const range = document.createRange();
      range.setStart(node, at);
      range.setEnd(node, at + text.length);
      const { left, right } = range.getBoundingClientRect();
      return { left, right };
    }
    throw new Error(`${selector} has no ${text}`);
  }, [selector, text]);
  const inOrder = async (...places) => {
    const found = await Promise.all(places.map(([selector, text]) => place(selector, text)));
    for (let i = 1; i < found.length; i++) assert.ok(found[i - 1].right <= found[i].left + 0.5, `${places[i - 1]} stands before ${places[i]}`);
  };

  await showState(page, server.local, states.find(({ page, name }) => page === "call" && name === "connected"));
  await page.evaluate(() => {
    const { showStatus, addLine, stepWords } = window.modules;
    showStatus("Connected directly · \u2068דנה 5\u2069 · now");
    addLine("step", stepWords("called", "דנה (1)"), { step: "called" });
    addLine("theirs", "שלום!", { author: "דנה" });
  });
  await inOrder(["#status-text", "Connected"], ["#status-text", "דנה"], ["#status-text", "now"]);
  await inOrder(["#log li[data-step='called']:nth-last-child(2)", "דנה"], ["#log li[data-step='called']:nth-last-child(2)", "calling"]);
  await inOrder(["#log li:last-child > bdi", "!"], ["#log li:last-child > bdi", "שלום"]);

  await showState(page, server.local, states.find(({ page, name }) => page === "files" && name === "receiving"));
  const row = ".transfer[data-id='item5'] .what";
  await inOrder([row, "דוח"], [row, ".pdf"], [row, "MB"]);
});

test("animations stop for people who ask for less motion", async () => {
  const running = () => document.getAnimations().filter(({ playState }) => playState === "running").length;
  for (const [reducedMotion, moves] of [["no-preference", true], ["reduce", false]]) {
    const page = await person(browser, { reducedMotion });
    await showState(page, server.local, states.find(({ name }) => name === "reconnecting"));
    assert.equal((await page.evaluate(running)) > 0, moves, reducedMotion);
    await page.context().close();
  }
});

test("in forced colours, states such as chosen, pressed and done remain distinguishable", async () => {
  const page = await person(browser, { forcedColors: "active" });
  const differ = (a, b, ...properties) => page.evaluate(([a, b, properties]) => {
    const [one, other] = [a, b].map((selector) => getComputedStyle(document.querySelector(selector)));
    return properties.some((property) => one[property] !== other[property]);
  }, [a, b, properties]);
  await page.goto(`${server.local}call`);
  assert.ok(await differ("input[value='both'] + span", "input[value='none'] + span", "outlineStyle", "outlineWidth"));
  await showState(page, server.local, states.find(({ name }) => name === "muted"));
  assert.ok(await differ("#camera-off", "#fill", "borderTopWidth", "borderTopColor"));
  await showState(page, server.local, states.find(({ name }) => name === "sending"));
  assert.ok(await differ("#total-bar", "#total-text", "borderTopWidth"));
});
