/** Codes of six letters, which people say aloud instead of sending a link. */

import assert from "node:assert/strict";
import { before, beforeEach, test } from "node:test";
import { cleanUp } from "./hooks.js";
import { startServer } from "./server.js";
import { areConnected, assertNoFaults, fillSetup, launch, person, reaches, waits } from "./browser.js";
import * as files from "./files.js";

let browser, server;
/** The URL of the server as other devices reach it. */
let reachable;

before(async () => {
  browser = await launch({ camera: false, flags: ["--host-resolver-rules=MAP inbox.test 127.0.0.1"] });
});
// A server counts the wrong codes of an address: each test has a separate one.
beforeEach(async () => {
  await server?.stop();
  server = await startServer(["--tls", "self-signed", "--base-path", "/signal/"]);
  reachable = server.url.replace("127.0.0.1", "inbox.test");
});
cleanUp(() => browser);

/** Waits until an element shows a text, and returns all of its text. */
async function shows(page, selector, text) {
  const found = page.locator(selector, { hasText: text });
  await found.waitFor();
  return found.innerText();
}

/** Requests a code on a page and returns it as a person reads it. */
async function codeOf(page) {
  const letters = () => document.querySelector("#code-shown strong")?.textContent ?? "";
  const before = await page.evaluate(letters);
  await page.click("#get-code");
  await page.waitForFunction((before) => !["", before].includes(document.querySelector("#code-shown strong")?.textContent ?? ""), before);
  return page.evaluate(letters);
}

/** Types a code and presses Enter. */
async function enters(page, code) {
  await page.fill("#code", code);
  await page.press("#code", "Enter");
}

test("a caller types the code of another browser in lower case, and the two are connected", async () => {
  const [alice, bob] = await Promise.all([person(browser), person(browser)]);
  // An id of other characters than ASCII is part of the credentials too.
  const link = await waits(alice, reachable, { id: "Zoë とり", wish: "none" });
  const code = await codeOf(alice);
  assert.match(code, /^[A-Z]{3} [A-Z]{3}$/);
  assert.match(await alice.innerText("#code-shown"), /works once, within 10 minutes\. .* opens inbox\.test:\d+\/signal\/call and enters it/);

  await bob.goto(`${reachable}call`);
  await enters(bob, code.toLowerCase());
  await bob.waitForSelector("#setup[data-mode='call']");
  assert.equal(bob.url(), link);
  assert.equal(await bob.isVisible("#code"), false);
  await fillSetup(bob, { wish: "none" });
  await areConnected(alice, bob);

  // The code was used: the page offers a new one when it waits again.
  assert.equal(await alice.textContent("#code-shown"), "");
  const carol = await person(browser);
  await carol.goto(`${reachable}call`);
  await enters(carol, code);
  await shows(carol, "#code-error", /does not work/);
  assertNoFaults({ provoked: true });
});

test("the second code that a files page shows connects another one", async () => {
  const [alice, bob] = await Promise.all([person(browser), person(browser)]);
  for (const page of [alice, bob]) {
    await page.goto(`${reachable}files`);
    await reaches(page, "waiting");
  }
  await codeOf(alice);
  const code = await codeOf(alice);
  await enters(bob, ` ${code.toLowerCase().replace(" ", "-")}. `);
  await files.areConnected(alice, bob);
  for (const page of [alice, bob]) for (const id of ["#code", "#get-code"]) assert.equal(await page.isVisible(id), false, id);
  await bob.click("#leave");
  await reaches(alice, "ended");
  assert.equal(await alice.innerText("#get-code"), "Show a code to say aloud");
});

for (const name of ["call", "files"]) {
  test(`/${name}: a sentence explains a wrong code, too many tries, and a server that does not answer`, async () => {
    const page = await person(browser);
    await page.goto(`${reachable}${name}`);
    await page.waitForSelector("#code:visible");
    await enters(page, "kxt rb");
    await shows(page, "#code-error", "A code has six letters.");
    assert.equal(await page.getAttribute("#code", "aria-invalid"), "true");
    await page.type("#code", "q");
    assert.equal(await page.isVisible("#code-error"), false);
    assert.equal(await page.getAttribute("#code", "aria-invalid"), "false");
    await page.press("#code", "Enter");
    await shows(page, "#code-error", "This code does not work."); // no code has a Q
    for (let tries = 0; tries < 3; tries++) {
      await enters(page, "KXTRBM");
      await shows(page, "#code-error", "This code does not work.");
    }
    await enters(page, "KXTRBM");
    await shows(page, "#code-error", "Too many wrong codes");
    assert.equal(await page.evaluate(() => document.activeElement.id), "code");

    await server.kill();
    await enters(page, "KXTRBM");
    await shows(page, "#code-error", "The server does not answer.");
    assertNoFaults({ provoked: true, expected: /status of 4(00|29)|ERR_/ });
  });
}

test("a code that has expired disappears, and the page offers a new one", async () => {
  const page = await person(browser);
  await page.goto(`${reachable}files`);
  await reaches(page, "waiting");
  await page.route("**/inbox?code=", (route) => route.fulfill({ headers: { "Cache-Control": "no-store" }, json: { code: "KXTRBM", seconds: 1 } }), { times: 1 });
  await page.click("#get-code");
  await shows(page, "#code-shown", "KXT RBM");
  await shows(page, "#code-shown", "The code has expired.");
  assert.equal(await page.locator("#code-shown strong").count(), 0);
  assert.equal(await page.innerText("#get-code"), "Show a new code");
  assert.notEqual(await codeOf(page), "KXT RBM");

  await page.route("**/inbox?code=", (route) => route.abort(), { times: 1 });
  await page.click("#get-code");
  await shows(page, "#code-shown", "The server does not answer.");
  assertNoFaults({ provoked: true, expected: /ERR_FAILED/ });
});

test("the own code is recognized, as often as it is typed", async () => {
  const page = await person(browser);
  await page.goto(`${reachable}files`);
  await reaches(page, "waiting");
  for (let times = 0; times < 2; times++) {
    await enters(page, await codeOf(page));
    await page.waitForSelector("[data-problem='own-link']");
    assert.equal(await page.textContent("#code-shown"), "");
    await page.evaluate(() => document.getElementById("notices").replaceChildren());
  }
});
