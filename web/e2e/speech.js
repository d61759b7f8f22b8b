/** Records what a screen reader would read aloud. */

import assert from "node:assert/strict";

/** Records what screen readers read aloud: every text that appears in a live region. Runs in the page. */
export function listen() {
  window.spoken = [];
  const live = "[role='status'], [role='log'], [role='alert'], [aria-live]";
  new MutationObserver((changes) => {
    for (const { target, addedNodes } of changes) {
      const region = (target instanceof Element ? target : target.parentElement)?.closest(live);
      if (!region?.checkVisibility()) continue;
      for (const node of addedNodes) window.spoken.push(node.textContent.replace(/[\u2066-\u2069]/g, ""));
    }
  }).observe(document, { childList: true, subtree: true, characterData: true });
}

/** Fails unless each text was read aloud exactly once. */
export async function assertSpoken(page, ...texts) {
  const spoken = await page.evaluate(() => window.spoken);
  for (const text of texts) assert.equal(spoken.filter((one) => text.test(one)).length, 1, `${text} in ${JSON.stringify(spoken)}`);
}
