/** Cleaning up after tests. */

import { after, afterEach } from "node:test";
import { stopServers } from "./server.js";
import { assertNoFaults, closeBrowsers } from "./browser.js";

/**
 * Registers hooks. After each test they close the pages of the browser, or of several, and fail
 * the test if a page had a fault. After all tests they close the browsers and stop the servers.
 * @param {() => import("playwright-core").Browser | import("playwright-core").Browser[]} browser
 * @param {Parameters<typeof assertNoFaults>[0]} [faults]
 */
export function cleanUp(browser, faults) {
  after(async () => {
    await closeBrowsers();
    await stopServers();
  });
  afterEach(async () => {
    await Promise.all([browser()].flat().flatMap((one) => one.contexts().map((context) => context.close())));
    assertNoFaults(faults);
  });
}
