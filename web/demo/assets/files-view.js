/** The files page's picture of what is going on. Everything from outside is set as text, never as markup. */

import { incomingWords, meetWords, outgoingWords, sizeWords, timeWords } from "./files-words.js";
import { stemAndType } from "./text.js";
import { element, keepFocus } from "./view.js";

/**
 * @typedef {"opening" | "insecure" | "stopped" | import("./meeting.js").State} State
 *
 * @typedef {Record<string, () => void>} Doing what the buttons of a row do, by what they say
 */

/**
 * @param {State} state
 * @param {object} options
 * @param {boolean} options.linked whether this page was opened by a link to somebody
 * @param {string} [options.ending] why it ended, in words
 */
export function showState(state, { linked, ending }) {
  document.body.dataset.state = state;
  const { status, title, text, hint = "" } = meetWords(state, linked, ending);
  element("status-text").textContent = status;
  document.title = `${status} · inbox`;
  element("meet-title").textContent = title;
  element("meet-text").textContent = text;
  element("meet-hint").textContent = hint;
  element("meet-hint").hidden = hint === "";
  const invites = state === "waiting" || (state === "ended" && !linked);
  const together = ["calling", "connecting", "connected", "reconnecting"].includes(state);
  element("invite").hidden = !invites;
  element("leave").hidden = !together;
  element("leave").textContent = state === "calling" ? "Cancel" : "Disconnect";
  element("again").hidden = !(state === "ended" && linked);
  element("anew").hidden = !(state === "ended" && linked) && state !== "stopped";
  element("drop").hidden = state === "insecure" || state === "stopped";
  element("drop-hint").textContent = state === "connected"
    ? "The other side is asked before anything is sent."
    : "It is offered as soon as somebody is connected, who is asked before anything is sent.";
  keepFocus(element("meet-title"));
}

/** Rows by the id of their transfer. @type {Map<string, HTMLLIElement>} */
const rows = new Map();

/**
 * Shows one transfer as it is now.
 * @param {"incoming" | "outgoing"} direction
 * @param {any} transfer
 * @param {boolean} connected
 * @param {(transfer: any) => Doing} doing
 */
export function showTransfer(direction, transfer, connected, doing) {
  const { id, name, size, state, why } = transfer;
  const row = rows.get(id) ?? addRow(direction, id, name, size);
  const words = (direction === "incoming" ? incomingWords : outgoingWords)(transfer, connected);
  const done = Math.min(size, transfer.moved);
  const speed = transfer.rate.now;
  const moving = state === "going" && connected && transfer.readable !== false;
  set(row.querySelector(".now"), [
    ...(state === "going" ? [`${percent(done, size)} of ${sizeWords(size)}`] : []),
    ...(moving && speed > 0 ? [`${sizeWords(speed)}/s`, timeWords((size - done) / speed)] : [words]),
  ].join(" · "));
  const progress = /** @type {HTMLProgressElement} */ (row.querySelector("progress"));
  progress.hidden = !["going", "checking"].includes(state);
  if (state === "checking") progress.removeAttribute("value");
  else progress.value = size === 0 ? 1 : done / size;
  // What is the same stays: a button that is made anew loses the focus, and a press.
  const key = `${state} ${why} ${connected} ${transfer.readable}`;
  if (row.dataset.key === key) return;
  row.dataset.key = key;
  row.dataset.state = state;
  row.dataset.why = why ?? "";
  const focused = row.contains(document.activeElement);
  const buttons = Object.entries(doing(transfer)).map(([says, act], i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = says;
    button.setAttribute("aria-label", `${says}: ${name}`);
    if (i === 0 && (says === "Receive" || says === "Choose it again" || says === "Receive again")) button.className = "primary";
    button.addEventListener("click", act);
    return button;
  });
  row.querySelector(".buttons")?.replaceChildren(...buttons);
  if (focused) (buttons[0] ?? element(`${direction}-title`)).focus();
}

/** @param {string} id @param {"incoming" | "outgoing"} direction */
export function removeRow(id, direction) {
  rows.get(id)?.remove();
  rows.delete(id);
  element(direction).hidden = element(`${direction}-list`).childElementCount === 0;
  keepFocus(element(element(direction).hidden ? "meet-title" : `${direction}-title`));
}

/**
 * Tells it to who does not see it.
 * @param {string} words
 */
export function say(words) {
  element("said").textContent = words;
}

/**
 * @param {"incoming" | "outgoing"} direction
 * @param {string} id
 * @param {string} name
 * @param {number} size
 */
function addRow(direction, id, name, size) {
  const row = document.createElement("li");
  row.className = "transfer card";
  row.dataset.id = id;
  const what = document.createElement("p");
  what.className = "what";
  const title = document.createElement("bdi");
  // The type stands at the end, whichever way the letters before it run.
  title.dir = "ltr";
  for (const part of stemAndType(name)) {
    const isolated = document.createElement("span");
    isolated.textContent = part;
    title.append(isolated);
  }
  const much = document.createElement("span");
  much.className = "size";
  much.textContent = sizeWords(size);
  what.append(title, much);
  const progress = document.createElement("progress");
  progress.setAttribute("aria-label", name);
  const now = document.createElement("p");
  now.className = "now";
  const buttons = document.createElement("div");
  buttons.className = "buttons";
  row.append(what, progress, now, buttons);
  rows.set(id, row);
  element(direction).hidden = false;
  element(`${direction}-list`).append(row);
  return row;
}

/** @param {Element | null} where @param {string} text */
function set(where, text) {
  if (where && where.textContent !== text) where.textContent = text;
}

/** @param {number} done @param {number} size */
function percent(done, size) {
  return `${size === 0 ? 100 : Math.floor((100 * done) / size)} %`;
}
