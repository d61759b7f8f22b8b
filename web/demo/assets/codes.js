/** Codes of six letters that lead to this page or to its room, for saying aloud, and the field that takes one. */

import { linkTo, linkToRoom } from "./share.js";
import { element, setText } from "./view.js";
import { codeFaults, codeHint } from "./words.js";

/** Timeout of a request, in milliseconds. */
const TIMEOUT = 10_000;

/** @typedef {{id: string, password: string, room?: string}} Self the peer that codes lead to; room: the room, if they lead there instead */

/** Counts what the offer has shown, so that a late answer changes nothing. */
let shown = 0;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let expiry;

/**
 * Makes a request to the server.
 * @param {string} path
 * @param {RequestInit} init
 * @returns {Promise<any>} the answer; rejects with an Error whose message is a name in codeFaults
 */
async function post(path, init) {
  /** @type {Response} */
  let response;
  let answer;
  try {
    response = await fetch(new URL(path, location.href), {
      method: "POST", cache: "no-store", credentials: "omit", redirect: "error", signal: AbortSignal.timeout(TIMEOUT), ...init,
    });
    answer = await response.json();
  } catch {
    throw new Error("no-server");
  }
  if (response.ok) return answer;
  const code = response.status === 400 ? "no-such-code" : answer?.code;
  throw new Error(Object.hasOwn(codeFaults, code) ? code : "no-server");
}

/** @param {unknown} error @returns {string} its name in codeFaults */
const nameOf = (error) => (error instanceof Error && Object.hasOwn(codeFaults, error.message) ? error.message : "no-server");

/**
 * Asks the server for a code that leads to a peer, or to a room.
 * @param {Self} self
 * @returns {Promise<{code: string, seconds: number}>}
 */
async function createCode({ id, password, room }) {
  const credentials = btoa(String.fromCharCode(...new TextEncoder().encode(`${id}:${password}`)));
  const { code, seconds } = await post(`inbox?code${room === undefined ? "" : `&room=${encodeURIComponent(room)}`}`, { headers: { Authorization: `Basic ${credentials}` } });
  if (typeof code !== "string" || typeof seconds !== "number") throw new Error("no-server");
  return { code, seconds };
}

/**
 * Asks the server where a code leads. The code then works no more.
 * @param {string} typed
 * @returns {Promise<{id: string, room?: string}>} the peer that created the code, and its room if the code leads there
 */
async function redeem(typed) {
  const code = typed.replace(/[\s\p{P}]/gu, "");
  if (!/^[a-z]{6}$/i.test(code)) throw new Error("not-six");
  const { id, room } = await post("code", { body: code });
  if (typeof id !== "string") throw new Error("no-server");
  return { id, room: typeof room === "string" && room !== "" ? room : undefined };
}

/**
 * Shows a code and where to enter it, until it expires.
 * @param {"call" | "files"} page
 * @param {string} code
 * @param {number} seconds for which it is valid
 */
export function showCode(page, code, seconds) {
  hideCode();
  const words = document.createElement("p");
  const letters = document.createElement("strong");
  letters.textContent = `${code.slice(0, 3)} ${code.slice(3)}`;
  words.append("Or say this code: ", letters);
  const hint = document.createElement("p");
  hint.className = "hint";
  const { host, pathname } = new URL(page, location.href);
  hint.textContent = codeHint(host + pathname, Math.round(seconds / 60));
  element("code-shown").replaceChildren(words, hint);
  setText(element("get-code"), "Show a new code");
  expiry = setTimeout(() => showOfferFault("expired"), seconds * 1000);
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
      const { code, seconds } = await createCode(self());
      if (shown === before) showCode(page, code, seconds);
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
      const { id, room } = await redeem(field.value);
      if (room !== undefined && page === "call") throw new Error("room");
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
