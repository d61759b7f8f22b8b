/** A link, handed to somebody: copied, shared, or shown to a camera. */

import { copy } from "./copy.js";
import { generate } from "./qr.js";

/** The largest version that is shown, 65 squares wide: of more, a phone has trouble reading them from a screen. */
const LARGEST = 12;

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

/** Shows a link in the page's elements for it. @param {string} link */
export function showLink(link) {
  /** @type {HTMLInputElement} */ (find("link")).value = link;
  find("copied").textContent = "";
  find("only-here").hidden = !/^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(location.hostname);
  const canvas = /** @type {HTMLCanvasElement} */ (find("qr"));
  try {
    // Black on white, also in the dark: not every reader takes it the other way round.
    generate(link, { maxVersion: LARGEST }).toCanvas(canvas, { on: [0, 0, 0], off: [255, 255, 255], pad: 4 });
    canvas.hidden = false;
  } catch {
    canvas.hidden = true; // a long id of one's own choice
  }
}

/** Wires the buttons beside the link. @param {string} title of what is shared */
export function wireLink(title) {
  const link = /** @type {HTMLInputElement} */ (find("link"));
  link.addEventListener("focus", () => link.select());
  find("copy-link").addEventListener("click", async () => {
    find("copied").textContent = (await copy(link.value)) ? "Copied." : "Select the link and copy it.";
  });
  find("share-link").hidden = navigator.share === undefined;
  find("share-link").addEventListener("click", () => {
    navigator.share({ title, url: link.value }).catch(() => {}); // not shared after all
  });
}
