/** The transfers of this tab: their lists, the actions of their buttons, and the files they read and write. */

import { randomId } from "../inbox.js";
import { fromDrop, fromInput } from "./chosen.js";
import { Exchange } from "./exchange.js";
import { showLists, showTotal, unfold } from "./files-view.js";
import { shareWords } from "./files-words.js";
import { FolderView } from "./folder.js";
import { isolate } from "./names.js";
import { removeForgotten, writesToDisk } from "./parts.js";
import { Progress } from "./progress.js";
import { Saving } from "./saving.js";
import { loadTransfers, saveTransfers } from "./settings.js";
import { Share, Shares } from "./shares.js";
import { isOver } from "./transfer.js";
import { announce, element, showProblem } from "./view.js";

/** Interval of updates while transfers run, and delay of an update after a change, in milliseconds. */
const SHOW_EVERY = 250;
const SHOW_AFTER = 40;
/** Delay between a change and storing it for a reload, in milliseconds. */
const KEEP_AFTER = 500;
/** Bounds how many people who left still have rows in the lists. The ones who left first lose theirs. */
const MAX_ABSENT = 30;

/**
 * The parts of the page that the transfers use.
 * @typedef {object} Link
 * @property {() => {room: boolean, to?: import("./shares.js").Aim}} aim where chosen files go: to the other person of a link
 *   for two, or into the room; to: the only person there who gets them
 * @property {() => boolean} isOpen whether the person can choose files
 */

/** @type {Link} */
let link = { aim: () => ({ room: false }), isOpen: () => false };
/** Whether the lists contain the transfers from before a reload. */
let restored = false;

/** The transfers with the other person of a link for two. */
export const solo = newExchange("");
/** The transfers with the people who are, or were, in the room, by their ids. @type {Map<string, Exchange>} */
const people = new Map();
export const shares = new Shares(() => [...people.values()]);
const exchanges = () => [solo, ...people.values()];
/** @param {"incoming" | "outgoing"} direction @returns {any[]} */
const listOf = (direction) => exchanges().flatMap((exchange) => /** @type {any[]} */ (exchange[direction].list));
const received = () => listOf("incoming");
const saving = new Saving({
  file: (one) => ownerOf(one).incoming.file(one),
  release: (one) => ownerOf(one).incoming.release(one),
  onchange: () => changed(),
});
const progress = new Progress();

/** @param {string} peer */
function newExchange(peer) {
  /** @type {Exchange} */
  const exchange = new Exchange(peer, {
    onchange: changed,
    others: {
      count: () => exchanges().reduce((sum, { incoming }) => sum + incoming.list.length, 0) - exchange.incoming.list.length,
      has: (id) => exchanges().some((other) => other !== exchange && other.incoming.has(id)),
    },
  });
  return exchange;
}

/**
 * Returns the transfers with a person in the room.
 * @param {string} peer
 */
export function exchangeWith(peer) {
  const exchange = people.get(peer) ?? newExchange(peer);
  people.set(peer, exchange);
  return exchange;
}

/** @param {import("./incoming.js").Received} one */
const ownerOf = (one) => exchanges().find(({ incoming }) => incoming.list.includes(one)) ?? solo;

/** Restores the transfers from before a reload, once. */
export async function restore() {
  if (restored) return;
  restored = true;
  removeForgotten().catch(() => {});
  element("in-memory").hidden = await writesToDisk();
  const { outgoing, incoming, others } = loadTransfers();
  for (const { peer, name, ...lists } of [{ peer: "", name: "", outgoing, incoming }, ...others]) {
    const exchange = peer === "" ? solo : exchangeWith(peer);
    exchange.name = name;
    exchange.outgoing.restore(lists.outgoing);
    await exchange.incoming.restore(lists.incoming);
  }
  shares.restore();
  saving.restore(received());
}

/** Starts with empty lists: the earlier transfers belong to another tab. */
export function beginEmpty() {
  restored = true;
}

/** Called when the channel to a person has closed. @param {Exchange} exchange */
export function detach(exchange) {
  exchange.detach();
  if (!exchanges().some(({ connected }) => connected)) progress.pause();
  showAll();
}

/** Offers the files that were chosen before the room was opened, and ends transfers with a single person. */
export function enterRoom() {
  const chosen = solo.met ? [] : solo.outgoing.list.filter((one) => one.file && !isOver(one));
  for (const one of chosen) remove(solo.outgoing, one);
  solo.outgoing.leave();
  solo.incoming.leave();
  if (chosen.length > 0) shares.offer(chosen.map(({ file, folder }) => ({ file: /** @type {File} */ (file), folder })));
}

/** Ends the transfers with the people of a room that this person does not return to. */
export function leaveRoom() {
  shares.leave();
  for (const { incoming } of people.values()) incoming.leave();
}

/** Called when a person has entered the room. @param {Exchange} exchange */
export function welcome(exchange) {
  exchange.here = true;
  exchange.weLeft = false;
  if (shares.welcome(exchange) > 0) showProblem("too-many");
}

/**
 * Called when a person has left the room, possibly for a reload.
 * @param {Exchange} exchange
 * @param {boolean} weLeft whether it was this person who left
 */
export function farewell(exchange, weLeft) {
  exchange.here = false;
  exchange.weLeft = weLeft;
  people.delete(exchange.peer);
  if (exchange.incoming.list.length + exchange.outgoing.list.length > 0) people.set(exchange.peer, exchange);
  // Complete files stay: only this page may have them.
  const absent = [...people.values()].filter(({ here, incoming }) => !here && !incoming.list.some(({ state }) => state === "done"));
  for (const { incoming, outgoing, peer } of absent.slice(0, Math.max(0, absent.length - MAX_ABSENT))) {
    incoming.leave();
    for (const one of incoming.list) incoming.remove(one);
    outgoing.leave();
    people.delete(peer);
  }
  changed();
}

/** Missing in some browsers. @type {((options: object) => Promise<FileSystemDirectoryHandle>) | undefined} */
const showDirectoryPicker = /** @type {any} */ (window).showDirectoryPicker?.bind(window);

/** @param {any} item @returns {any[]} the files of a folder, or the file alone */
const filesOf = (item) => (item instanceof FolderView ? item.members : [item]);
/** Whether the other person is connected. @param {any} item */
const isNear = (item) => item.exchange.connected;
/** Stages of saving in which only this page has a complete file. */
const unsaved = ["waiting", "rest", "packing", "failed"];

/** Returns the actions of a row's buttons, by label. @type {Record<"incoming" | "outgoing", (item: any) => import("./files-view.js").Doing>} */
const doing = {
  outgoing: (item) => ({
    ...(item.state === "unreadable" && { "Choose it again": item.files ? chooseFolder : choose }),
    ...(isOver(item) ? { Remove: () => remove(solo.outgoing, item) } : { Cancel: () => cancel(solo.outgoing, item) }),
  }),
  incoming: (item) => ({
    ...(item.state === "offered" && isNear(item) && item.readable && item.listed !== false && {
      Receive: () => receive([item]),
      ...(showDirectoryPicker && item instanceof FolderView && { "Into a folder…": () => receiveInto([item]) }),
    }),
    ...(item.state === "damaged" && isNear(item) && { "Receive again": () => receive([item]) }),
    ...(item.state === "done" && [undefined, "rest", "failed"].includes(item.saving) && { Save: () => save([item]) }),
    ...(item.state === "done" && ["given", "packed"].includes(item.saving) && { "Save again": () => save([item]) }),
    ...(!isOver(item) ? { [item.state === "offered" ? "Decline" : "Cancel"]: () => cancel(item.exchange.incoming, item) }
      : !["waiting", "packing"].includes(item.saving) && { Remove: () => remove(item.exchange.incoming, item) }),
  }),
};

/** @param {any} list @param {any} item */
function cancel(list, item) {
  if (item instanceof Share) {
    shares.cancel(item);
    return changed();
  }
  // Files of a cancelled folder that are complete are saved on request only.
  for (const one of filesOf(item)) if (one.saving === "rest" && item instanceof FolderView) one.saving = undefined;
  for (const one of filesOf(item)) if (!isOver(one)) list.cancel(one);
}

/** @param {any} list @param {any} item that has ended */
function remove(list, item) {
  const files = item instanceof Share ? item.people.flatMap((recipient) => filesOf(recipient.item)) : filesOf(item);
  if (item instanceof Share) shares.remove(item);
  else for (const one of files) list.remove(one);
  for (const one of [item, ...files]) announced.delete(one.id);
  changed();
}

/** @returns {any[]} what this side receives, with the exchange that each belongs to */
function offers() {
  return exchanges().flatMap((exchange) => exchange.items("incoming").map((item) => Object.assign(item, { exchange })));
}

/** @returns {any[]} the offers that can be accepted now */
function offered() {
  return offers().filter((item) => item.state === "offered" && isNear(item) && item.readable && item.listed !== false);
}

/**
 * Accepts files one by one, and each folder as an archive.
 * @param {any[]} items
 */
function receive(items) {
  for (const item of items) {
    /** @type {import("./incoming.js").Target} */
    const target = item instanceof FolderView ? { kind: "archive", batch: item.id, name: `${item.name}.zip` } : { kind: "downloads" };
    for (const one of filesOf(item)) item.exchange.incoming.accept(one, one.state === "damaged" ? undefined : target);
  }
}

/** @param {any[]} items @param {import("./incoming.js").Target} target */
function accept(items, target) {
  for (const item of items) for (const one of filesOf(item)) item.exchange.incoming.accept(one, target);
}

/** Accepts all items as one archive. @param {any[]} items */
function receiveTogether(items) {
  /** @type {import("./incoming.js").Target} */
  const target = { kind: "archive", batch: randomId(), name: "files.zip" };
  accept(items, target);
}

/** Accepts all items into a directory that the person chooses. @param {any[]} items */
async function receiveInto(items) {
  /** @type {FileSystemDirectoryHandle | undefined} */
  let directory;
  try {
    directory = await showDirectoryPicker?.({ id: "files", mode: "readwrite", startIn: "downloads" });
  } catch (error) {
    // AbortError means that the person cancelled the dialog.
    if (!(error instanceof DOMException) || error.name !== "AbortError") showProblem("no-directory");
  }
  if (directory === undefined) return;
  accept(items, { kind: "directory", name: directory.name, directory });
}

/** Saves complete files one by one, and each folder as an archive. @param {any[]} items */
function save(items) {
  for (const item of items) {
    const files = filesOf(item).filter(({ state, saving }) => state === "done" && saving !== "written");
    if (item instanceof FolderView) saving.toArchive(files, `${item.name}.zip`);
    else saving.toDownloads(files);
  }
}

/** @returns {any[]} the received items that this page still has */
function saved() {
  return offers().filter((item) => item.state === "done" && item.saving !== "written" && !["waiting", "packing"].includes(item.saving));
}

/** @type {Map<string, string>} the announced states of transfers and shares, by id */
const announced = new Map();
/** Up to this number, transfers are announced one by one; beyond it, they are not. */
const MAX_SPOKEN = 3;

/**
 * @param {"incoming" | "outgoing"} [direction]
 * @param {any} [one]
 * @param {Exchange} [exchange]
 */
function changed(direction, one, exchange) {
  const before = announced.get(one?.id);
  if (one && before !== one.state) {
    announced.set(one.id, one.state);
    progress.note(one);
    const name = one.folder?.path[0] ?? one.name;
    const few = [...received(), ...solo.outgoing.list].filter((other) => !isOver(other)).length <= MAX_SPOKEN;
    if (direction === "incoming" && one.state === "offered" && few) announce(exchange?.name ? `${isolate(exchange.name)} offers you ${name}.` : `${name} is offered to you.`);
    if (one.state === "done" && few && !one.share) announce(`${name} is complete.`);
    if (one.state === "damaged") announce(`${one.name} arrived damaged.`);
    if (direction === "incoming" && one.state === "done" && before === "checking") saving.take(one);
    if (direction === "incoming" && isOver(one) && one.target?.kind === "archive") saving.settle(received(), one);
  }
  keepTransfers();
  showSoon();
  watch();
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let showing;
/** Updates the view soon, once for many changes. */
function showSoon() {
  showing ??= setTimeout(showAll, SHOW_AFTER);
}

/** @type {ReturnType<typeof setInterval> | undefined} */
let watching;
/** @type {WakeLockSentinel | undefined} */
let awake;
/** Whether a request for the lock is pending or was rejected. */
let asking = false;

/** Updates the view and keeps the screen on while transfers run. */
function watch() {
  watching ??= setInterval(() => {
    const moves = showAll();
    keepAwake(moves && exchanges().some(({ connected }) => connected));
    if (moves) return;
    clearInterval(watching);
    watching = undefined;
  }, SHOW_EVERY);
}

/** Keeps a phone from sleeping, which would stop the transfers. @param {boolean} on */
async function keepAwake(on) {
  if (!on) {
    awake?.release();
    awake = undefined;
  } else if (!asking && (awake === undefined || awake.released) && document.visibilityState === "visible") {
    asking = true;
    awake = await navigator.wakeLock?.request("screen").catch(() => undefined); // rejected when the battery is low
    asking = awake === undefined; // do not ask again
  }
}

/** Announces each share once, when everyone's transfer has ended. @param {Share[]} rows */
function announceShares(rows) {
  const few = rows.filter((share) => !isOver(share)).length <= MAX_SPOKEN;
  for (const share of rows) {
    if (announced.get(share.id) === share.state) continue;
    announced.set(share.id, share.state);
    if (share.state === "done" && few) announce(`${share.name}: ${shareWords(share)}`);
  }
}

/** Updates the view. @returns {boolean} whether transfers run */
export function showAll() {
  clearTimeout(showing);
  showing = undefined;
  const connected = exchanges().some((exchange) => exchange.connected);
  const rows = shares.rows();
  announceShares(rows);
  showLists({ incoming: offers(), outgoing: [...solo.items("outgoing").map((item) => Object.assign(item, { exchange: solo })), ...rows], doing });
  const total = progress.sum(received(), listOf("outgoing"));
  showTotal(total, { connected, saving: saving.left, copies: rows.some(({ people, state }) => state === "going" && people.length > 1) });
  const [open, kept] = [offered().length, saved().length];
  element("accept-all").hidden = element("accept-archive").hidden = open < 2;
  element("accept-directory").hidden = open < 2 || showDirectoryPicker === undefined;
  element("save-all").hidden = element("save-archive").hidden = kept < 2;
  return total !== undefined;
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let keeping;
/** Stores the transfers for a reload soon, once for many changes. */
function keepTransfers() {
  keeping ??= setTimeout(keepNow, KEEP_AFTER);
}

function keepNow() {
  clearTimeout(keeping);
  keeping = undefined;
  if (!restored) return;
  const kept = (/** @type {Exchange} */ { outgoing, incoming }) => ({ outgoing: outgoing.kept, incoming: incoming.kept });
  saveTransfers({ ...kept(solo), others: [...people.values()].map((exchange) => ({ peer: exchange.peer, name: exchange.name, ...kept(exchange) })) });
}

/** Offers chosen files to the other side, or to the room. @param {import("./chosen.js").Chosen} chosen */
function offer({ choices, problems }) {
  const { room, to } = link.aim();
  if ((room ? shares.offer(choices, to) : solo.outgoing.offer(choices)) > 0) showProblem("too-many");
  changed();
  for (const problem of problems) showProblem(problem);
}

const [choice, directory] = ["choose", "choose-directory"].map((id) => /** @type {HTMLInputElement} */ (element(id)));
const choose = () => choice.click();
const chooseFolder = () => directory.click();

/** Wires the buttons of the lists. @param {Link} given */
export function wireTransfers(given) {
  link = given;
  element("choose-files").addEventListener("click", choose);
  element("choose-folder").addEventListener("click", chooseFolder);
  element("choose-folder").hidden = !("webkitdirectory" in HTMLInputElement.prototype);
  for (const input of [choice, directory]) {
    input.addEventListener("change", () => {
      offer(fromInput(input.files ?? []));
      input.value = ""; // so that the same file can be chosen again
    });
  }
  element("accept-all").addEventListener("click", () => receive(offered()));
  element("accept-archive").addEventListener("click", () => receiveTogether(offered()));
  element("accept-directory").addEventListener("click", () => receiveInto(offered()));
  element("save-all").addEventListener("click", () => save(saved()));
  element("save-archive").addEventListener("click", () => saving.toArchive(saved().flatMap(filesOf).filter(({ state }) => state === "done"), "files.zip"));
  element("unfold").addEventListener("click", () => {
    unfold();
    showAll();
  });
  element("clear-finished").addEventListener("click", () => {
    for (const { incoming, outgoing } of exchanges()) {
      for (const one of incoming.list) if (isOver(one) && !(one.state === "done" && unsaved.includes(one.saving ?? ""))) remove(incoming, one);
      for (const one of outgoing.list) if (isOver(one) && !one.share) remove(outgoing, one);
    }
    for (const share of shares.rows()) if (isOver(share)) remove(undefined, share);
  });
  let dragged = 0;
  const drags = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files") && link.isOpen();
  addEventListener("dragenter", (event) => drags(event) && document.body.toggleAttribute("data-dragging", ++dragged > 0));
  addEventListener("dragleave", (event) => drags(event) && document.body.toggleAttribute("data-dragging", --dragged > 0));
  addEventListener("dragover", (event) => drags(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    dragged = 0;
    document.body.removeAttribute("data-dragging");
    if (!drags(event)) return;
    event.preventDefault();
    if (event.dataTransfer) fromDrop(event.dataTransfer.items).then(offer);
  });
  addEventListener("pagehide", keepNow);
}
