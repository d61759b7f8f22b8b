/** Tests that end, whatever happens. */

import { test as plain } from "node:test";

/** Nothing waits this long when all is well. */
const LIMIT = 40_000;

export function test(name, options, body) {
  return typeof options === "function"
    ? plain(name, { timeout: LIMIT }, options)
    : plain(name, { timeout: LIMIT, ...options }, body);
}
