/** The page for operators at --metrics-listen. */

import assert from "node:assert/strict";
import http from "node:http";
import { before, test } from "node:test";
import { startServer } from "./server.js";
import { assertAccessible } from "./axe.js";
import { assertNoFaults, launch, person } from "./browser.js";
import { cleanUp } from "./hooks.js";

let browser;
before(async () => { browser = await launch({ camera: false }); });
cleanUp(() => browser);

/** Starts a server with a page for operators, and returns the address of the page. */
async function watched(flags = []) {
  const server = await startServer(["--metrics-listen", "127.0.0.1:0", ...flags]);
  const told = () => /page for operators" at=(\S+)/.exec(server.log())?.[1];
  while (!told()) await new Promise((resolve) => setTimeout(resolve, 10)); // it appears among the other lines
  return { server, status: told() };
}

const as = (id, password = "a password") => ({ Authorization: "Basic " + btoa(`${id}:${password}`) });

/** Returns a figure of the page by its name. */
const figure = (page, name) => page.locator("#figures div", { has: page.locator("dt", { hasText: name }) }).locator("dd");
const card = (page, title) => page.locator("section", { has: page.locator("h2", { hasText: title }) });

test("it shows waiting peers, refusals and memory, and refreshes by itself", async () => {
  const { server, status } = await watched();
  const page = await person(browser);
  await page.clock.install();
  const asked = [];
  page.on("request", (request) => asked.push(request.url()));
  await page.goto(status);
  await page.waitForSelector("#health.good");
  assert.equal(await figure(page, "peers waiting").innerText(), "0");
  for (const title of ["Peers waiting", "Messages", "Delivery time", "Refusals", "Memory", "Connections"]) {
    assert.equal(await card(page, title).count(), 1, `there is a card ${title}`);
  }
  assert.equal(await card(page, "Redis").count() + await card(page, "Certificates").count(), 0, "features that are switched off have no card");

  // Two peers wait, and a third request has a wrong password.
  const waits = ["alice", "bob"].map((id) => http.get(`${server.url}inbox?after=0&wait=20`, { headers: as(id) }).on("error", () => {}));
  const waiting = async () => /^inbox_receivers\{transport="long-poll"\} 2$/m.test(await (await fetch(`${status}metrics`)).text());
  while (!await waiting()) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal((await fetch(`${server.url}inbox?wait=0`, { headers: as("alice", "another") })).status, 401);

  await page.clock.fastForward(10_000);
  await figure(page, "peers waiting").getByText("2", { exact: true }).waitFor();
  await card(page, "Memory").getByText("2 of 1 M").waitFor();

  const own = new URL(status).origin;
  assert.ok(asked.length > 4 && asked.every((url) => url.startsWith(own) || url.startsWith("data:")), `it requests only its own server: ${asked}`);
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true);
  for (const wait of waits) wait.destroy();

  await server.kill();
  await page.clock.fastForward(10_000);
  await page.waitForSelector("#health.bad");
  assert.match(await page.locator("#health").innerText(), /does not answer/);
  assertNoFaults({ expected: /ERR_CONNECTION|Failed to load resource|Failed to fetch/ });
});

test("it is accessible and fits a phone in light and dark, and shows when certificates expire", async () => {
  const { status } = await watched(["--tls", "self-signed"]);
  for (const colorScheme of ["light", "dark"]) {
    const page = await person(browser, { viewport: { width: 360, height: 740 }, colorScheme });
    await page.goto(status);
    await card(page, "Certificates").getByText(/days left$/).waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360, "nothing is wider than the screen");
    await assertAccessible(page, colorScheme);
    const [ground, ink] = await page.evaluate(() => {
      const luminance = (color) => color.match(/[\d.]+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0);
      const style = getComputedStyle(document.documentElement);
      return [luminance(style.backgroundColor), luminance(style.color)];
    });
    assert.equal(ground > ink, colorScheme === "light");
  }
});
