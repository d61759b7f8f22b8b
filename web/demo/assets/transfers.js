/** The transfers of this tab: their lists, the actions of their buttons, and the files they read and write. */

import { randomId } from "../inbox.js";
import { fromDrop, fromInput } from "./chosen.js";
import { showLists, showTotal, unfold } from "./files-view.js";
import { FolderView, itemsOf } from "./folder.js";
import { Incoming } from "./incoming.js";
import { Outgoing } from "./outgoing.js";
import { removeForgotten, writesToDisk } from "./parts.js";
import { Progress } from "./progress.js";
import { Saving } from "./saving.js";
import { loadTransfers, saveTransfers } from "./settings.js";
import { isOver } from "./transfer.js";
import { announce, element, showProblem } from "./view.js";

/** Interval of updates while transfers run, and delay of an update after a change, in milliseconds. */
const SHOW_EVERY = 250;
const SHOW_AFTER = 40;
/** Delay between a change and storing it for a reload, in milliseconds. */
const KEEP_AFTER = 500;

/**
 * The parts of the page that the transfers use.
 * @typedef {object} Link
 * @property {(data: object) => boolean} send sends a message to the other side, if connected
 * @property {() => boolean} isConnected whether files can be sent now
 * @property {() => boolean} isOpen whether the person can choose files
 */

/** @type {Link} */
let link = { send: () => false, isConnected: () => false, isOpen: () => false };
/** Whether the lists contain the transfers from before a reload. */
let restored = false;

const send = (/** @type {object} */ data) => link.send(data);
const isConnected = () => link.isConnected();
export const outgoing = new Outgoing({ send, onchange: (one) => changed("outgoing", one) });
export const incoming = new Incoming({ send, onchange: (one) => changed("incoming", one) });
const saving = new Saving({
  file: (one) => incoming.file(one),
  release: (one) => incoming.release(one),
  onchange: () => changed(),
});
const progress = new Progress();

/** Restores the transfers from before a reload, once. */
export async function restore() {
  if (restored) return;
  restored = true;
  removeForgotten().catch(() => {});
  element("in-memory").hidden = await writesToDisk();
  const { outgoing: sent, incoming: received } = loadTransfers();
  outgoing.restore(sent);
  await incoming.restore(received);
  saving.restore(incoming.list);
}

/** Starts with empty lists: the earlier transfers belong to another tab. */
export function beginEmpty() {
  restored = true;
}

/** Called when the channel for files has closed. */
export function detach() {
  outgoing.detach();
  incoming.detach();
  progress.pause();
  showAll();
}

/** Missing in some browsers. @type {((options: object) => Promise<FileSystemDirectoryHandle>) | undefined} */
const showDirectoryPicker = /** @type {any} */ (window).showDirectoryPicker?.bind(window);

/** @param {any} item @returns {any[]} the files of a folder, or the file alone */
const filesOf = (item) => (item instanceof FolderView ? item.members : [item]);
/** Stages of saving in which only this page has a complete file. */
const unsaved = ["waiting", "rest", "packing", "failed"];

/** Returns the actions of a row's buttons, by label. @type {Record<"incoming" | "outgoing", (item: any) => import("./files-view.js").Doing>} */
const doing = {
  outgoing: (item) => ({
    ...(item.state === "unreadable" && { "Choose it again": item instanceof FolderView ? chooseFolder : choose }),
    ...(isOver(item) ? { Remove: () => remove(outgoing, item) } : { Cancel: () => cancel(outgoing, item) }),
  }),
  incoming: (item) => ({
    ...(item.state === "offered" && isConnected() && item.readable && item.listed !== false && {
      Receive: () => receive([item]),
      ...(showDirectoryPicker && item instanceof FolderView && { "Into a folder…": () => receiveInto([item]) }),
    }),
    ...(item.state === "damaged" && isConnected() && { "Receive again": () => receive([item]) }),
    ...(item.state === "done" && [undefined, "rest", "failed"].includes(item.saving) && { Save: () => save([item]) }),
    ...(item.state === "done" && ["given", "packed"].includes(item.saving) && { "Save again": () => save([item]) }),
    ...(!isOver(item) ? { [item.state === "offered" ? "Decline" : "Cancel"]: () => cancel(incoming, item) }
      : !["waiting", "packing"].includes(item.saving) && { Remove: () => remove(incoming, item) }),
  }),
};

/** @param {any} list @param {any} item */
function cancel(list, item) {
  // Files of a cancelled folder that are complete are saved on request only.
  for (const one of filesOf(item)) if (one.saving === "rest" && item instanceof FolderView) one.saving = undefined;
  for (const one of filesOf(item)) if (!isOver(one)) list.cancel(one);
}

/** @param {any} list @param {any} item that has ended */
function remove(list, item) {
  for (const one of filesOf(item)) {
    list.remove(one);
    announced.delete(one.id);
  }
  changed();
}

/** @returns {any[]} the offers that can be accepted now */
function offered() {
  if (!isConnected()) return [];
  return itemsOf("incoming", incoming.list).filter((item) => item.state === "offered" && item.readable && item.listed !== false);
}

/**
 * Accepts files one by one, and each folder as an archive.
 * @param {any[]} items
 */
function receive(items) {
  for (const item of items) {
    /** @type {import("./incoming.js").Target} */
    const target = item instanceof FolderView ? { kind: "archive", batch: item.id, name: `${item.name}.zip` } : { kind: "downloads" };
    for (const one of filesOf(item)) incoming.accept(one, one.state === "damaged" ? undefined : target);
  }
}

/** Accepts all items as one archive. @param {any[]} items */
function receiveTogether(items) {
  /** @type {import("./incoming.js").Target} */
  const target = { kind: "archive", batch: randomId(), name: "files.zip" };
  for (const one of items.flatMap(filesOf)) incoming.accept(one, target);
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
  for (const one of items.flatMap(filesOf)) incoming.accept(one, { kind: "directory", name: directory.name, directory });
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
  return itemsOf("incoming", incoming.list).filter((item) => item.state === "done" && item.saving !== "written" && !["waiting", "packing"].includes(item.saving));
}

/** @type {Map<string, string>} the announced states of transfers, by id */
const announced = new Map();
/** Up to this number, transfers are announced one by one; beyond it, they are not. */
const MAX_SPOKEN = 3;

/**
 * @param {"incoming" | "outgoing"} [direction]
 * @param {any} [one]
 */
function changed(direction, one) {
  const before = announced.get(one?.id);
  if (one && before !== one.state) {
    announced.set(one.id, one.state);
    progress.note(one);
    const few = [...outgoing.list, ...incoming.list].filter((other) => !isOver(other)).length <= MAX_SPOKEN;
    if (direction === "incoming" && one.state === "offered" && few) announce(`${one.folder?.path[0] ?? one.name} is offered to you.`);
    if (one.state === "done" && few) announce(`${one.folder?.path[0] ?? one.name} is complete.`);
    if (one.state === "damaged") announce(`${one.name} arrived damaged.`);
    if (direction === "incoming" && one.state === "done" && before === "checking") saving.take(one);
    if (direction === "incoming" && isOver(one) && one.target?.kind === "archive") saving.settle(incoming.list, one);
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
    keepAwake(moves && isConnected());
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

/** Updates the view. @returns {boolean} whether transfers run */
export function showAll() {
  clearTimeout(showing);
  showing = undefined;
  const connected = isConnected();
  showLists({ incoming: itemsOf("incoming", incoming.list), outgoing: itemsOf("outgoing", outgoing.list), connected, doing });
  const total = progress.sum(incoming.list, outgoing.list);
  showTotal(total, { connected, saving: saving.left });
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
  saveTransfers({ outgoing: outgoing.kept, incoming: incoming.kept });
}

/** Offers chosen files to the other side. @param {import("./chosen.js").Chosen} chosen */
function offer({ choices, problems }) {
  if (outgoing.offer(choices) > 0) showProblem("too-many");
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
    for (const list of [incoming, outgoing]) {
      for (const one of list.list) if (isOver(one) && !(one.state === "done" && unsaved.includes(/** @type {any} */ (one).saving))) remove(list, one);
    }
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
