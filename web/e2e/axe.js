/** Finds problems of accessibility in a page, with axe-core. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const source = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/**
 * Fails if axe-core finds something in what the page shows now.
 * @param {import("playwright-core").Page} page
 * @param {string} what is shown, for the message
 * @param {string[]} [rules] only these; by default all, best practices too
 */
export async function assertAccessible(page, what, rules) {
  if (!(await page.evaluate("'axe' in window"))) await page.evaluate(source);
  const found = await page.evaluate(async (rules) => {
    const { violations } = await window.axe.run(document, { resultTypes: ["violations"], ...(rules && { runOnly: rules }) });
    return violations.flatMap(({ id, help, nodes }) => nodes.map(({ target, any }) => `${id}: ${help}: ${target} ${any[0]?.message ?? ""}`));
  }, rules);
  assert.deepEqual(found, [], what);
}
