/**
 * Ensures that only one tab at a time uses an id. A duplicated tab starts with a copy of
 * the original's session storage, including its id and password, and would otherwise take
 * over the original's call or transfers.
 */

import { hashOf } from "./names.js";
import { SCOPE } from "./settings.js";

/** How long to wait for the previous page of this tab to unload after a reload, in milliseconds. */
const UNLOAD_TIMEOUT = 1000;
/** How long another tab may take to answer, in milliseconds, in a browser without Web Locks. */
const ANSWER_TIMEOUT = 700;

/**
 * Claims an id for this tab until the page is left or the claim is released. Tabs that use
 * the same id with different passwords do not conflict here: the server rejects one of them.
 *
 * Browsers offer Web Locks to secure pages only. On other pages, tabs ask each other over
 * a BroadcastChannel instead.
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
  // A page in the back/forward cache must not hold the claim.
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
      // A browser without storage has no locks either. Its tabs cannot be duplicated with their id.
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
