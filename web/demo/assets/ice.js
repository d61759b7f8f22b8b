/** The fields for custom STUN and TURN servers on both pages. */

import { iceServers, loadIce, saveIce } from "./settings.js";
import { element } from "./view.js";

/** @param {string} id */
const input = (id) => /** @type {HTMLInputElement} */ (element(id));

/** Fills the fields from storage. @param {boolean} [open] whether to open and focus them */
export function showIce(open = false) {
  const { urls, username, credential } = loadIce();
  input("ice-urls").value = urls;
  input("ice-username").value = username;
  input("ice-credential").value = credential;
  showFault("ice", undefined);
  /** @type {HTMLDetailsElement} */ (element("advanced")).open = open;
  if (open) input("ice-urls").focus();
}

/** Stores the typed servers, or shows what is wrong with them. @returns {boolean} whether they were stored */
export function keepIce() {
  const ice = {
    urls: input("ice-urls").value.trim(),
    username: input("ice-username").value.trim(),
    credential: input("ice-credential").value,
  };
  try {
    iceServers(ice);
  } catch (error) {
    /** @type {HTMLDetailsElement} */ (element("advanced")).open = true;
    showFault("ice", error instanceof Error ? error.message : String(error));
    input("ice-urls").focus();
    return false;
  }
  showFault("ice", undefined);
  saveIce(ice);
  return true;
}

/**
 * @param {"id" | "ice"} field
 * @param {string | undefined} fault
 */
export function showFault(field, fault) {
  const error = element(`${field}-error`);
  error.textContent = fault ?? "";
  error.hidden = fault === undefined;
  element(field === "id" ? "id" : "ice-urls").setAttribute("aria-invalid", String(fault !== undefined));
}
