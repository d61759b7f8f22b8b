/**
 * One tab at a time acts as an id. A duplicated tab starts with a copy of all that
 * its original kept, the id and the password included, and would take over the
 * original's call or transfers.
 */

import { hashOf } from "./names.js";
import { SCOPE } from "./settings.js";

/** How long to wait for the tab's own earlier page, which a reload may still be unloading. */
const UNLOAD_TIMEOUT = 1000;
/** How long another tab may take to answer, where there are no locks. */
const ANSWER_TIMEOUT = 700;

/**
 * Claims an id for this tab, until the page is left or the claim is released. Tabs
 * that happen to use the same id with other passwords do not see each other: the
 * server tells them apart.
 *
 * Browsers keep Web Locks from pages that came over plain HTTP. There, tabs ask
 * each other over a BroadcastChannel instead.
 * @param {"call" | "files"} page
 * @param {{id: string, password: string}} self
 * @param {object} options
 * @param {boolean} [options.take] whether to take the id from another tab
 * @param {() => void} options.onlost called when another tab takes it
 * @returns {Promise<(() => void) | undefined>} releases the claim; undefined if another tab has it
 */
export async function claim(page, { id, password }, { take = false, onlost }) {
  const name = `inbox:${page}:${SCOPE}:${hashOf(`${id}\n${password}`)}`;
  const release = navigator.locks ? await lock(name, take, onlost) : await announce(name, take, onlost);
  // A page that is kept to go back to must not hold it.
  if (release) addEventListener("pagehide", release, { once: true });
  return release;
}

/**
 * @param {string} name
 * @param {boolean} take
 * @param {() => void} onlost
 * @returns {Promise<(() => void) | undefined>}
 */
function lock(name, take, onlost) {
  return new Promise((resolve) => {
    let held = false;
    /** @type {() => void} */
    let release = () => {};
    const options = take ? { steal: true } : { signal: AbortSignal.timeout(UNLOAD_TIMEOUT) };
    navigator.locks.request(name, options, () => {
      held = true;
      return new Promise((/** @type {(value?: unknown) => void} */ end) => {
        release = () => {
          held = false;
          end();
        };
        resolve(release);
      });
    }).catch((error) => {
      if (held) onlost();
      // A browser that keeps nothing for the page has no locks either, and no tab can be duplicated with its id.
      else resolve(["TimeoutError", "AbortError"].includes(error?.name) ? undefined : () => {});
      held = false;
    });
  });
}

/**
 * @param {string} name
 * @param {boolean} take
 * @param {() => void} onlost
 * @returns {Promise<(() => void) | undefined>}
 */
async function announce(name, take, onlost) {
  const channel = new BroadcastChannel(name);
  if (take) {
    channel.postMessage("taken");
  } else {
    const answered = await new Promise((resolve) => {
      channel.onmessage = ({ data }) => data === "held" && resolve(true);
      channel.postMessage("asked");
      setTimeout(resolve, ANSWER_TIMEOUT);
    });
    if (answered) {
      channel.close();
      return undefined;
    }
  }
  channel.onmessage = ({ data }) => {
    if (data === "asked") channel.postMessage("held");
    if (data !== "taken") return;
    channel.close();
    onlost();
  };
  return () => channel.close();
}
