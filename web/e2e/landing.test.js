/** The start page. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { before, test } from "node:test";
import { cleanUp } from "./hooks.js";
import { startServer } from "./server.js";
import { launch, person, reaches } from "./browser.js";

const run = promisify(execFile);
let browser, server;

before(async () => {
  [server, browser] = await Promise.all([startServer(["--base-path", "/it/is-here/"]), launch()]);
});
cleanUp(() => browser);

/** Pastes a command of the page into a shell. */
async function paste(page, name) {
  const command = await page.textContent(`[data-command="${name}"]`);
  const { stdout } = await run("sh", ["-c", command], { timeout: 10_000, env: { PATH: process.env.PATH } });
  return stdout;
}

test("its commands work when pasted one after the other", async () => {
  const page = await person(browser);
  await page.goto(server.url);

  assert.match(await paste(page, "open"), /^HTTP\/1.1 204 /);
  assert.match(await paste(page, "send"), /^HTTP\/1.1 200 /);
  const received = await paste(page, "receive");
  assert.match(received, /^HTTP\/1.1 200 /);
  assert.match(received, /^x-from: alice-[a-z0-9]{5}\r$/im);
  assert.match(received, /\r\n\r\nhello, Bob$/);

  for (let i = 0; i < 2; i++) {
    const { messages } = JSON.parse(await paste(page, "keep"));
    assert.deepEqual(messages.map(({ body }) => body), Array(i + 1).fill("this one stays"));
  }
  assert.match(await paste(page, "acknowledge"), /^HTTP\/1.1 200 [^]*\r\n\r\nthis one stays$/);
  assert.match(await paste(page, "acknowledge"), /^HTTP\/1.1 204 /);
});

test("two visitors get different names, and commands can be copied", async () => {
  const [one, two] = await Promise.all([person(browser), person(browser)]);
  await Promise.all([one.goto(server.url), two.goto(server.url)]);
  const lines = await Promise.all([one, two].map((page) => page.textContent("[data-command='open']")));
  assert.notEqual(lines[0], lines[1]);
  for (const line of lines) assert.ok(line.includes("/it/is-here/inbox?"), line);

  await one.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await one.getByRole("button", { name: "Bob opens his inbox" }).click();
  await one.locator("#copied", { hasText: "Copied." }).waitFor({ state: "attached" });
  assert.equal(await one.evaluate(() => navigator.clipboard.readText()), lines[0]);
});

test("it leads to the pages by keyboard, and every page fits a phone", async () => {
  const page = await person(browser, { viewport: { width: 390, height: 844 } });
  await page.goto(server.url);
  await page.getByRole("link", { name: "Make a call" }).press("Enter");
  await page.waitForURL(/\/call$/);
  await reaches(page, "setup");
  await page.focus("#name");
  await page.keyboard.press("Enter");
  await reaches(page, "waiting");
  await page.goto(server.url);
  await page.getByRole("link", { name: "Send files" }).press("Enter");
  await page.waitForURL(/\/files$/);
  for (const path of ["", "call", "files"]) {
    await page.goto(server.url + path);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `/${path} is wider than a phone`);
  }
});

test("every button, field and picture has a name", async () => {
  const page = await person(browser);
  for (const path of ["", "call", "files"]) {
    await page.goto(server.url + path);
    const nameless = await page.$$eval("button, a, input, textarea, select, video, [role=img]", (elements) => elements.filter((element) => {
      const name = element.getAttribute("aria-label") || element.textContent.trim() || element.title ||
        [...(element.labels ?? [])].map((label) => label.textContent).join("");
      return !name;
    }).map((element) => element.outerHTML));
    assert.deepEqual(nameless, []);
  }
});
