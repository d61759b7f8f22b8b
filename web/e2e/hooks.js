/** What follows the tests of a file, and each of them. */

import { after, afterEach } from "node:test";
import { stopServers } from "./server.js";
import { assertNoFaults, closeBrowsers } from "./browser.js";

/**
 * Closes the pages of the browser after each test, and fails it if one of them had a fault.
 * After all tests it ends the browsers and the servers.
 * @param {() => import("playwright-core").Browser} browser
 */
export function tidies(browser) {
  after(async () => {
    await closeBrowsers();
    await stopServers();
  });
  afterEach(async () => {
    await Promise.all(browser().contexts().map((context) => context.close()));
    assertNoFaults();
  });
}
