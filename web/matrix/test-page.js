/**
 * Opens the test page in one of the networks of the matrix, and prints its findings as JSON.
 *
 *   node test-page.js https://signal.example/ [PROXY]
 */

import { chromium } from "playwright-core";
import { chromiumOptions } from "../e2e/chromium.js";

const [, , url, proxy] = process.argv;
const browser = await chromium.launch({
  ...chromiumOptions({ devices: 0, names: false, flags: ["--ignore-certificate-errors"] }),
  ...(proxy && { proxy: { server: proxy } }),
});
const page = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage();
await page.goto(`${url}test`);
await page.waitForSelector('body[data-state="done"]', { timeout: 90_000 });
await page.check("#with-addresses");
console.log(JSON.stringify({
  Found: await page.evaluate(() => [...document.querySelectorAll("[data-finding]")].map((item) => item.dataset.finding)),
  Report: await page.textContent("#report-text"),
}));
await browser.close();
