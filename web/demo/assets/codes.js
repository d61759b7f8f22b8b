/** Codes of six letters that lead to this page or to its room, for saying aloud, and the field that takes one. */

import { createCode, redeemCode } from "../codes.js";
import { Inbox, InboxError } from "../inbox.js";
import { linkTo, linkToRoom } from "./share.js";
import { element, setText } from "./view.js";
import { codeFaults, codeHint } from "./words.js";

/** @typedef {{id: string, password: string, room?: string}} Self the peer that codes lead to; room: the room, if they lead there instead */

/** Counts what the offer has shown, so that a late answer changes nothing. */
let shown = 0;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let expiry;

/** @param {Self} self @returns the peer's inbox, without opening it */
const inboxOf = ({ id, password }) => new Inbox(new URL("inbox", location.href), { id, password });

/** @param {unknown} error @returns {string} its name in codeFaults */
function nameOf(error) {
  const name = error instanceof InboxError ? error.code : error instanceof Error ? error.message : "";
  if (name === "bad-request") return "no-such-code"; // no code has one of these letters
  return Object.hasOwn(codeFaults, name) ? name : "no-server";
}

/**
 * Asks the server where a code leads. The code then stops working.
 * @param {Self} self
 * @param {string} typed
 */
async function redeem(self, typed) {
  if (!/^[a-z]{6}$/i.test(typed.replace(/[\s\p{P}]/gu, ""))) throw new Error("not-six");
  return redeemCode(inboxOf(self), typed);
}

/**
 * Shows a code and where to enter it, until it expires.
 * @param {"call" | "files"} page
 * @param {string} code
 * @param {number} validFor in milliseconds
 */
export function showCode(page, code, validFor) {
  hideCode();
  const words = document.createElement("p");
  const letters = document.createElement("strong");
  letters.textContent = `${code.slice(0, 3)} ${code.slice(3)}`;
  words.append("Or say this code: ", letters);
  const hint = document.createElement("p");
  hint.className = "hint";
  const { host, pathname } = new URL(page, location.href);
  hint.textContent = codeHint(host + pathname, Math.round(validFor / 60_000));
  element("code-shown").replaceChildren(words, hint);
  setText(element("get-code"), "Show a new code");
  expiry = setTimeout(() => showOfferFault("expired"), validFor);
}

/** @param {string} name in codeFaults */
export function showOfferFault(name) {
  hideCode();
  const fault = document.createElement("p");
  fault.textContent = codeFaults[name];
  element("code-shown").append(fault);
  setText(element("get-code"), "Show a new code");
}

/** Removes the code, for example because it was used. */
export function hideCode() {
  shown++;
  clearTimeout(expiry);
  element("code-shown").replaceChildren();
  setText(element("get-code"), "Show a code to say aloud");
}

/** @param {string} name in codeFaults; empty without a fault */
export function showCodeFault(name) {
  setText(element("code-error"), codeFaults[name] ?? "");
  element("code-error").hidden = name === "";
  element("code").setAttribute("aria-invalid", String(name !== ""));
}

/**
 * Wires the button that shows a code, and the field for one.
 * @param {"call" | "files"} page
 * @param {() => Self} self
 */
export function wireCodes(page, self) {
  const field = /** @type {HTMLInputElement} */ (element("code"));
  element("get-code").addEventListener("click", async () => {
    const before = ++shown;
    try {
      const own = self();
      const { code, validFor } = await createCode(inboxOf(own), { room: own.room });
      if (shown === before) showCode(page, code, validFor);
    } catch (error) {
      const name = nameOf(error);
      if (shown === before) showOfferFault(name === "rate-limited" ? "too-many-codes" : name);
    }
  });

  let busy = false;
  element("enter-code").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (busy) return;
    busy = true;
    showCodeFault("");
    try {
      const { id, room } = await redeem(self(), field.value);
      const link = room === undefined ? linkTo(page, id) : linkToRoom(page, room);
      field.value = "";
      hideCode(); // it may have been the own one
      // The address may contain this link already, and then does not change.
      if (location.href === link) dispatchEvent(new HashChangeEvent("hashchange"));
      else location.assign(link);
    } catch (error) {
      showCodeFault(nameOf(error));
      field.focus();
    } finally {
      busy = false;
    }
  });
  field.addEventListener("input", () => showCodeFault(""));
}
