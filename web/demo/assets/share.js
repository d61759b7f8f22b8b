/** A link, handed to somebody: copied, shared, or shown to a camera. */

import { copy } from "./copy.js";
import { generate } from "./qr.js";

/** The largest version that is shown, 65 squares wide: of more, a phone has trouble reading them from a screen. */
const MAX_VERSION = 12;

/**
 * The link that leads to a peer. The id is in the fragment, which browsers send to
 * no server. The password is in no link.
 * @param {"call" | "files"} page
 * @param {string} id
 * @returns {string}
 */
export function linkTo(page, id) {
  return new URL(`${page}#to=${encodeURIComponent(id)}`, location.href).href;
}

/** @returns {string | undefined} to whom this page's link leads */
export function peerOfLink() {
  return new URLSearchParams(location.hash.slice(1)).get("to") || undefined;
}

/** @param {string} id */
const find = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** Names of the computer itself: a link with one of them opens nowhere else. */
const HERE = /^(localhost|.+\.localhost|127\.\d+\.\d+\.\d+|0\.0\.0\.0|\[::1?\]|\[::ffff:7f[0-9a-f]{2}:[0-9a-f]{1,4}\])\.?$/;

/**
 * Shows a link in the page's elements for it; or how to try it, where it opens on
 * this computer only.
 * @param {string} link
 */
export function showLink(link) {
  const here = HERE.test(location.hostname);
  /** @type {HTMLInputElement} */ (find("link")).value = link;
  /** @type {HTMLAnchorElement} */ (find("try-here")).href = link;
  find("copied").textContent = "";
  for (const element of document.querySelectorAll("[data-reach]")) {
    /** @type {HTMLElement} */ (element).hidden = (/** @type {HTMLElement} */ (element).dataset.reach === "here") !== here;
  }
  for (const element of document.querySelectorAll("[data-host]")) element.textContent = location.host;
  const canvas = /** @type {HTMLCanvasElement} */ (find("qr"));
  canvas.hidden = true;
  if (here) return;
  try {
    // Black on white, also in the dark: not every reader takes it the other way round.
    generate(link, { maxVersion: MAX_VERSION }).toCanvas(canvas, { on: [0, 0, 0], off: [255, 255, 255], pad: 4 });
    canvas.hidden = false;
  } catch {
    // The ending of the link was chosen, and is too long for a code.
  }
}

/** @returns {string} the address of this page over https, on the same host and port */
export const secureAddress = () => location.href.replace(/^http:/, "https:");

/** Wires the buttons beside the link. @param {string} title of what is shared */
export function wireLink(title) {
  const link = /** @type {HTMLInputElement} */ (find("link"));
  link.addEventListener("focus", () => link.select());
  find("copy-link").addEventListener("click", async () => {
    find("copied").textContent = (await copy(link.value)) ? "Copied. Now send it." : "This browser did not copy the link. Select it and copy it yourself.";
  });
  find("copy-here").addEventListener("click", async () => {
    find("copied").textContent = (await copy(link.value)) ? "Copied." : "This browser did not copy the link.";
  });
  find("share-link").hidden = navigator.share === undefined;
  find("share-link").addEventListener("click", () => {
    navigator.share({ title, url: link.value }).catch(() => {}); // not shared after all
  });
}
