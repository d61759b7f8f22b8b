/** The view of the files page. Text from outside is set as text, never as markup. */

import { hideCode, showCodeFault } from "./codes.js";
import { offerTest } from "./failures.js";
import { aimWords, incomingWords, meetWords, outgoingWords, percentWords, shareWords, sizeWords, timeWords, totalWords } from "./files-words.js";
import { isolate } from "./names.js";
import { showRecipients, showSender } from "./people-view.js";
import { aimOfChoice, showRoom } from "./room-view.js";
import { stemAndType } from "./text.js";
import { isOver } from "./transfer.js";
import { announce, element, keepFocus, setText, showStatus } from "./view.js";

/** Beyond this number, finished rows are shown on request only. */
const MAX_FINISHED = 3;

/**
 * @typedef {"opening" | "insecure" | "unable" | "elsewhere" | "stopped" | import("./meeting.js").State
 *   | "room" | "full" | "outside"} State full, outside: no place was left in the room, or this person left it
 *
 * @typedef {"incoming" | "outgoing"} Direction
 *
 * @typedef {Record<string, () => void>} Doing the actions of a row's buttons, by label
 *
 * @typedef {object} Lists
 * @property {any[]} incoming what this side receives, as items of folder.js
 * @property {any[]} outgoing what this side sends, as items of folder.js and shares
 * @property {Record<Direction, (item: any) => Doing>} doing
 */

/** The state that was announced last. */
let announced = "";

/**
 * Shows a state and announces it to screen readers.
 * @param {State} state
 * @param {import("./files-words.js").Situation} situation
 */
export function showState(state, situation) {
  const { linked, name, problem } = situation;
  document.body.dataset.state = state;
  const { status, title, text, hint = "" } = meetWords(state, situation);
  showStatus(status);
  const key = `${state} ${situation.away} ${state === "calling" ? problem : ""}`;
  if (key !== announced && (["connected", "reconnecting"].includes(state) || (state === "calling" && problem !== ""))) announce(title);
  announced = key;
  setText(element("meet-title"), title);
  setText(element("meet-text"), text);
  setText(element("meet-hint"), hint);
  element("meet-hint").hidden = hint === "";
  offerTest(element("find-out"), state === "ended" ? situation.ending : undefined, situation.cause);
  const absent = state === "calling" && problem === "no-such-inbox";
  if (state === "calling" && problem !== "") element("meet").dataset.problem = problem;
  else delete element("meet").dataset.problem;
  const invites = state === "waiting" || (state === "ended" && !linked);
  const together = ["calling", "connecting", "connected", "reconnecting"].includes(state);
  showRoom(state === "room" ? situation.room : undefined);
  element("invite").hidden = !invites && state !== "room";
  element("several").hidden = !invites;
  element("enter-code").hidden = !invites;
  if (!invites && state !== "room") hideCode();
  if (!invites) showCodeFault("");
  element("leave").hidden = !together && state !== "room";
  element("leave").textContent = state === "calling" ? "Stop calling" : state === "room" ? "Leave the room" : "Disconnect";
  const outside = state === "outside" || state === "full";
  element("again").hidden = !(outside || (state === "ended" && linked));
  element("again").textContent = state === "outside" ? "Enter again"
    : ["hung-up", "bye", "left", "lost"].includes(situation.ending) && state === "ended" ? "Connect again" : "Try again";
  element("move-here").hidden = state !== "elsewhere";
  element("new-link").hidden = !(absent || outside || state === "elsewhere" || (state === "ended" && linked));
  element("new-link").textContent = absent || outside ? "Get my own link" : "Get a new link";
  element("naming").hidden = !invites && !["connected", "calling", "room"].includes(state);
  setText(element("name-hint"), state === "room" ? "The others see it." : "The other person sees it once you are connected.");
  element("drop").hidden = ["insecure", "unable", "stopped", "elsewhere", "full", "outside"].includes(state);
  element("drop-hint").textContent = state === "room" ? aimWords(aimOfChoice())
    : state === "connected" ? `${name === "" ? "The other person" : isolate(name)} is asked before anything is sent.`
    : "You can choose files now. The other person is asked for them once you are connected.";
  element("incoming-title").textContent = name === "" ? "For you" : `From ${isolate(name)}`;
  element("outgoing-title").textContent = name === "" ? "From you" : `To ${isolate(name)}`;
  keepFocus(element("meet-title"));
}

/** Rows by direction and id. @type {Map<string, HTMLLIElement>} */
const rows = new Map();
/** Number of rows that have finished, which orders them. */
let finishes = 0;
let unfolded = false;

/** Shows all transfers: moving ones first, finished ones in a separate list. @param {Lists} lists */
export function showLists({ incoming, outgoing, doing }) {
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
      showItem(row, direction, item, doing[direction]);
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
  if (!(focused instanceof HTMLElement) || (focused === document.activeElement && focused.checkVisibility())) return;
  // Moving a row has taken the focus from it.
  if (focused.isConnected) focused.focus({ preventScroll: true });
  keepFocus(element("meet-title"));
}

/** Switches between all finished rows and the latest ones. */
export function unfold() {
  unfolded = !unfolded;
}

/**
 * Shows the progress of all transfers together.
 * @param {import("./progress.js").Total | undefined} total undefined if nothing moves
 * @param {{connected: boolean, saving: number, copies?: boolean}} options saving: the number of files still to be saved;
 *   copies: whether several people get the same file
 */
export function showTotal(total, { connected, saving, copies = false }) {
  element("total").hidden = total === undefined && saving === 0;
  setText(element("total-text"), totalWords(total, connected, saving, copies));
  const bar = /** @type {HTMLProgressElement} */ (element("total-bar"));
  if (total === undefined) bar.removeAttribute("value");
  else bar.value = total.size === 0 ? total.done / total.files : total.moved / total.size;
}

/** Returns the rank of an item: lower ranks come first in a list. @param {any} item */
function rank({ state, moved }) {
  if (state === "checking" || (state === "going" && moved > 0)) return 0;
  if (state === "damaged" || state === "unreadable") return 1;
  return state === "offered" ? 2 : 3;
}

/**
 * Puts rows into a list in order. Rows that are in place already are not touched.
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
 * @param {(item: any) => Doing} doing
 */
function showItem(row, direction, item, doing) {
  const { name, size, state, why, saving, files, people, exchange } = item;
  const connected = exchange?.connected ?? false;
  // Keep the buttons while they stay the same: a replaced button loses the focus and a click.
  const key = [state, why, saving, item.place, connected, exchange?.here, exchange?.weLeft, exchange?.name, item.readable, item.listed, item.members?.length, item.done].join(" ");
  const same = row.dataset.key === key;
  if (same && isOver(item) && !people) return;
  row.dataset.key = key;
  row.dataset.state = state;
  row.dataset.why = why ?? "";
  row.dataset.saving = saving ?? "";
  const words = direction === "incoming" ? incomingWords(item, connected) : people ? shareWords(item) : outgoingWords(item, connected);
  const done = Math.min(size, item.moved);
  const speed = item.rate.now;
  const moving = state === "going" && connected && item.readable !== false && done > 0;
  if (people) showRecipients(row, item);
  else showSender(row, exchange);
  setText(row.querySelector(".size"), (files ? `${files} files, ` : "") + sizeWords(size));
  setText(row.querySelector(".now"), [
    ...(state === "going" && done > 0 && !people ? [`${percentWords(done, size)} of ${sizeWords(size)}`] : []),
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
  // The type stays at the end, whatever the direction of the letters before it.
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
