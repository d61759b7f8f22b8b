/** Tests with a time limit. */

import { test as plain } from "node:test";

/** No passing test takes this long, in milliseconds. */
const LIMIT = 40_000;

export function test(name, options, body) {
  return typeof options === "function"
    ? plain(name, { timeout: LIMIT }, options)
    : plain(name, { timeout: LIMIT, ...options }, body);
}
