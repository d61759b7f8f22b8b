/** Copies a link, shares it, and shows it as a QR code. */

import { copy } from "./copy.js";
import { generate } from "./qr.js";

/** Maximum version of a QR code: 65 modules wide. Phones have trouble reading larger ones from a screen. */
const MAX_VERSION = 12;

/**
 * Returns the link to a peer. It contains the id in its fragment, which browsers never send
 * to a server, and no password.
 * @param {"call" | "files"} page
 * @param {string} id
 * @returns {string}
 */
export function linkTo(page, id) {
  return new URL(`${page}#to=${encodeURIComponent(id)}`, location.href).href;
}

/**
 * Returns the link to a room. Its fragment contains the name of the room, which is all that
 * one needs to enter.
 * @param {"call" | "files"} page
 * @param {string} room
 * @returns {string}
 */
export function linkToRoom(page, room) {
  return new URL(`${page}#room=${encodeURIComponent(room)}`, location.href).href;
}

/** @returns {string | undefined} the id in the address of this page */
export function peerOfLink() {
  return ofLink("to");
}

/** @returns {string | undefined} the name of the room in the address of this page */
export function roomOfLink() {
  return ofLink("room");
}

/** @param {"to" | "room"} what */
function ofLink(what) {
  return new URLSearchParams(location.hash.slice(1)).get(what) || undefined;
}

/** @param {string} id */
const find = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** Host names of the computer itself: links with them work on no other device. */
const HERE = /^(localhost|.+\.localhost|127\.\d+\.\d+\.\d+|0\.0\.0\.0|\[::1?\]|\[::ffff:7f[0-9a-f]{2}:[0-9a-f]{1,4}\])\.?$/;

/**
 * Shows a link and its QR code, or how to try it if it works on this computer only.
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
    // Black on white even in dark mode: some readers do not accept inverted codes.
    generate(link, { maxVersion: MAX_VERSION }).toCanvas(canvas, { on: [0, 0, 0], off: [255, 255, 255], pad: 4 });
    canvas.hidden = false;
  } catch {
    // A chosen ending can be too long for a code.
  }
}

/** @returns {string} the address of this page over https, on the same host and port */
export const secureAddress = () => location.href.replace(/^http:/, "https:");

/** Wires the buttons of the link. @param {string} title of the shared link */
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
    navigator.share({ title, url: link.value }).catch(() => {}); // the person cancelled
  });
}
