/**
 * Takes a screenshot of every state of every page, light and dark, on a phone and on a desktop:
 * make screenshots. An argument selects states, as in: node e2e/screenshots.js call-ringing
 */

import { mkdirSync } from "node:fs";
import { startServer, stopServers } from "./server.js";
import { closeBrowsers, launch, person } from "./browser.js";
import { showState, states } from "./states.js";

const to = new URL("../../build/screenshots/", import.meta.url).pathname;
const wanted = process.argv.slice(2);
const sizes = { phone: { width: 390, height: 844 }, narrow: { width: 320, height: 640 }, desktop: { width: 1280, height: 800 } };

mkdirSync(to, { recursive: true });
const server = await startServer();
const site = `http://inbox.example:${server.port}/`;
const browser = await launch({
  camera: false,
  flags: ["--host-resolver-rules=MAP inbox.example 127.0.0.1", `--unsafely-treat-insecure-origin-as-secure=${site.slice(0, -1)}`],
});
for (const [size, viewport] of Object.entries(sizes)) {
  const page = await person(browser, { viewport, deviceScaleFactor: 1 });
  for (const state of states) {
    const name = `${state.page.split("/")[0] || "home"}-${state.name}`;
    if (wanted.length > 0 && !wanted.some((part) => name.includes(part))) continue;
    await showState(page, site, state);
    for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
      await page.emulateMedia({ colorScheme });
      await page.waitForTimeout(200);
      await page.screenshot({ path: `${to}${name}-${size}-${colorScheme}.png` });
    }
  }
  await page.context().close();
}
await closeBrowsers();
await stopServers();
