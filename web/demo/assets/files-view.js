/** The files page's picture of what is going on. Everything from outside is set as text, never as markup. */

import { offerTest } from "./failures.js";
import { incomingWords, meetWords, outgoingWords, sizeWords, timeWords, totalWords } from "./files-words.js";
import { isolate } from "./names.js";
import { stemAndType } from "./text.js";
import { element, keepFocus } from "./view.js";

/** More finished rows than this show only when they are asked for. */
const MAX_FINISHED = 3;

/**
 * @typedef {"opening" | "insecure" | "unable" | "elsewhere" | "stopped" | import("./meeting.js").State} State
 *
 * @typedef {"incoming" | "outgoing"} Direction
 *
 * @typedef {Record<string, () => void>} Doing what the buttons of a row do, by what they say
 *
 * @typedef {object} Lists
 * @property {any[]} incoming what is received, as items of folder.js
 * @property {any[]} outgoing what is sent
 * @property {boolean} connected
 * @property {Record<Direction, (item: any) => Doing>} doing
 */

/**
 * @param {State} state
 * @param {import("./files-words.js").Situation} situation
 */
export function showState(state, situation) {
  const { linked, name, met } = situation;
  document.body.dataset.state = state;
  const { status, title, text, hint = "" } = meetWords(state, situation);
  set(element("status-text"), status);
  document.title = `${status} · inbox`;
  set(element("meet-title"), title);
  set(element("meet-text"), text);
  set(element("meet-hint"), hint);
  element("meet-hint").hidden = hint === "";
  offerTest(element("find-out"), state === "ended" ? situation.ending : undefined, situation.cause);
  const absent = state === "calling" && met === "no-such-inbox";
  if (state === "calling" && met !== "") element("meet").dataset.problem = met;
  else delete element("meet").dataset.problem;
  const invites = state === "waiting" || (state === "ended" && !linked);
  const together = ["calling", "connecting", "connected", "reconnecting"].includes(state);
  element("invite").hidden = !invites;
  element("leave").hidden = !together;
  element("leave").textContent = state === "calling" ? "Cancel" : "Disconnect";
  element("again").hidden = !(state === "ended" && linked);
  element("again").textContent = ["hung-up", "bye", "left", "lost"].includes(situation.ending) ? "Connect again" : "Try again";
  element("move-here").hidden = state !== "elsewhere";
  element("anew").hidden = !(absent || state === "elsewhere" || (state === "ended" && linked));
  element("anew").textContent = absent ? "Give them my link" : "Begin with a new link";
  element("naming").hidden = !invites && !["connected", "calling"].includes(state);
  element("drop").hidden = ["insecure", "unable", "stopped", "elsewhere"].includes(state);
  element("drop-hint").textContent = state === "connected"
    ? `${name === "" ? "The other side" : isolate(name)} is asked before anything is sent.`
    : "It is offered as soon as somebody is connected, who is asked before anything is sent.";
  element("incoming-title").textContent = name === "" ? "For you" : `From ${isolate(name)}`;
  element("outgoing-title").textContent = name === "" ? "From you" : `To ${isolate(name)}`;
  keepFocus(element("meet-title"));
}

/** Rows by direction and id. @type {Map<string, HTMLLIElement>} */
const rows = new Map();
/** How many rows have finished. */
let finishes = 0;
let unfolded = false;

/** Shows all transfers as they are now: what moves first, what is over apart. @param {Lists} lists */
export function showLists({ incoming, outgoing, connected, doing }) {
  const focused = document.activeElement;
  /** @type {Set<string>} */
  const present = new Set();
  /** @type {HTMLLIElement[]} */
  const finished = [];
  for (const [direction, items] of /** @type {[Direction, any[]][]} */ ([["incoming", incoming], ["outgoing", outgoing]])) {
    /** @type {[number, HTMLLIElement][]} */
    const active = [];
    for (const item of items) {
      const key = `${direction} ${item.id}`;
      present.add(key);
      const row = rows.get(key) ?? addRow(key, item);
      showItem(row, direction, item, connected, doing[direction]);
      if (isOver(item)) finished.push(row);
      else active.push([rank(item), row]);
    }
    place(element(`${direction}-list`), active.sort(([a], [b]) => a - b).map(([, row]) => row));
    element(direction).hidden = active.length === 0;
  }
  for (const row of finished) row.dataset.finished ??= String(++finishes);
  place(element("finished-list"), finished.sort((a, b) => Number(b.dataset.finished) - Number(a.dataset.finished)));
  element("finished").hidden = finished.length === 0;
  element("finished-count").textContent = String(finished.length);
  element("unfold").hidden = finished.length <= MAX_FINISHED;
  element("unfold").textContent = unfolded ? "Show fewer" : "Show all";
  element("unfold").setAttribute("aria-expanded", String(unfolded));
  element("finished").toggleAttribute("data-folded", finished.length > MAX_FINISHED && !unfolded);
  for (const [key, row] of rows) {
    if (present.has(key)) continue;
    row.remove();
    rows.delete(key);
  }
  if (!(focused instanceof HTMLElement) || focused === document.activeElement) return;
  // A row that was moved has lost the focus.
  if (focused.isConnected) focused.focus({ preventScroll: true });
  keepFocus(element("meet-title"));
}

/** Shows all that is finished, or only the latest of it. */
export function unfold() {
  unfolded = !unfolded;
}

/**
 * Shows how far everything together has come.
 * @param {import("./progress.js").Total | undefined} total undefined if nothing goes
 * @param {{connected: boolean, saving: number}} options saving: how many files are to be saved yet
 */
export function showTotal(total, { connected, saving }) {
  element("total").hidden = total === undefined && saving === 0;
  set(element("total-text"), totalWords(total, connected, saving));
  const bar = /** @type {HTMLProgressElement} */ (element("total-bar"));
  if (total === undefined) bar.removeAttribute("value");
  else bar.value = total.size === 0 ? total.done / total.files : total.moved / total.size;
}

/**
 * Tells it to who does not see it.
 * @param {string} words
 */
export function say(words) {
  element("said").textContent = words;
}

/** Whether nothing happens to it any more by itself. @param {any} item */
function isOver({ state }) {
  return state === "done" || state === "cancelled";
}

/** What comes first in a list has the lowest. @param {any} item */
function rank({ state, moved }) {
  if (state === "checking" || (state === "going" && moved > 0)) return 0;
  if (state === "damaged" || state === "unreadable") return 1;
  return state === "offered" ? 2 : 3;
}

/**
 * Puts rows into a list, and moves none that is where it belongs.
 * @param {HTMLElement} list
 * @param {HTMLLIElement[]} wanted
 */
function place(list, wanted) {
  const belongs = new Set(wanted);
  for (const row of [...list.children]) if (!belongs.has(/** @type {HTMLLIElement} */ (row))) row.remove();
  for (const [i, row] of wanted.entries()) if (list.children[i] !== row) list.insertBefore(row, list.children[i] ?? null);
}

/**
 * @param {HTMLLIElement} row
 * @param {Direction} direction
 * @param {any} item
 * @param {boolean} connected
 * @param {(item: any) => Doing} doing
 */
function showItem(row, direction, item, connected, doing) {
  const { name, size, state, why, saving, files } = item;
  // What is the same stays: a button that is made anew loses the focus, and a press.
  const key = [state, why, saving, item.place, connected, item.readable, item.listed, files && item.members.length, item.done].join(" ");
  const same = row.dataset.key === key;
  if (same && isOver(item)) return;
  row.dataset.key = key;
  row.dataset.state = state;
  row.dataset.why = why ?? "";
  row.dataset.saving = saving ?? "";
  const words = (direction === "incoming" ? incomingWords : outgoingWords)(item, connected);
  const done = Math.min(size, item.moved);
  const speed = item.rate.now;
  const moving = state === "going" && connected && item.readable !== false && done > 0;
  set(row.querySelector(".size"), (files ? `${files} files, ` : "") + sizeWords(size));
  set(row.querySelector(".now"), [
    ...(state === "going" && done > 0 ? [`${percent(done, size)} of ${sizeWords(size)}`] : []),
    ...(moving && speed > 0 ? [`${sizeWords(speed)}/s`, timeWords((size - done) / speed)] : [words]),
  ].join(" · "));
  const progress = /** @type {HTMLProgressElement} */ (row.querySelector("progress"));
  progress.hidden = !(state === "checking" || (state === "going" && done > 0));
  if (state === "checking") progress.removeAttribute("value");
  else progress.value = size === 0 ? 1 : done / size;
  if (same) return;
  const focused = row.contains(document.activeElement);
  const buttons = Object.entries(doing(item)).map(([says, act], i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = says;
    button.setAttribute("aria-label", `${says}: ${name}`);
    if (i === 0 && ["Receive", "Choose it again", "Receive again", "Save"].includes(says)) button.className = "primary";
    button.addEventListener("click", act);
    return button;
  });
  row.querySelector(".buttons")?.replaceChildren(...buttons);
  if (focused) (buttons[0] ?? element(`${direction}-title`)).focus();
}

/**
 * @param {string} key
 * @param {any} item
 */
function addRow(key, { id, name, files }) {
  const row = document.createElement("li");
  row.className = "transfer card";
  row.dataset.id = id;
  const what = document.createElement("p");
  what.className = "what";
  const title = document.createElement("bdi");
  // The type stands at the end, whichever way the letters before it run.
  title.dir = "ltr";
  for (const part of files ? [name, "/"] : stemAndType(name)) {
    const isolated = document.createElement("span");
    isolated.textContent = part;
    title.append(isolated);
  }
  const much = document.createElement("span");
  much.className = "size";
  what.append(title, much);
  const progress = document.createElement("progress");
  progress.setAttribute("aria-label", name);
  const now = document.createElement("p");
  now.className = "now";
  const buttons = document.createElement("div");
  buttons.className = "buttons";
  row.append(what, progress, now, buttons);
  rows.set(key, row);
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
