/** The transfers of this tab: their lists, what their buttons do, and where files come from and go. */

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

/** How often what moves is shown, and how soon a change, in milliseconds. */
const SHOW_EVERY = 250;
const SHOW_AFTER = 40;
/** How soon what is kept over a reload follows a change, in milliseconds. */
const KEEP_AFTER = 500;

/**
 * What the transfers need of the page.
 * @typedef {object} Link
 * @property {(data: object) => boolean} say
 * @property {() => boolean} isConnected whether something can go over now
 * @property {() => boolean} isOpen whether files can be chosen
 */

/** @type {Link} */
let link = { say: () => false, isConnected: () => false, isOpen: () => false };
/** Whether what this tab did before it was loaded again is in the lists. */
let restored = false;

const speak = (/** @type {object} */ data) => link.say(data);
const isConnected = () => link.isConnected();
export const outgoing = new Outgoing({ say: speak, onchange: (one) => changed("outgoing", one) });
export const incoming = new Incoming({ say: speak, onchange: (one) => changed("incoming", one) });
const saving = new Saving({
  file: (one) => incoming.file(one),
  release: (one) => incoming.release(one),
  onchange: () => changed(),
});
const progress = new Progress();

/** Takes up what this tab did before it was loaded again, once. */
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

/** What this tab did before belongs to another tab: this one begins with nothing. */
export function beginEmpty() {
  restored = true;
}

/** The channel for files is gone. */
export function detach() {
  outgoing.detach();
  incoming.detach();
  progress.pause();
  showAll();
}

/** Some browsers have it. @type {((options: object) => Promise<FileSystemDirectoryHandle>) | undefined} */
const showDirectoryPicker = /** @type {any} */ (window).showDirectoryPicker?.bind(window);

/** @param {any} item @returns {any[]} the files of a folder, or the file alone */
const filesOf = (item) => (item instanceof FolderView ? item.members : [item]);
/** States in which this page alone has a file that is complete. */
const unsaved = ["waiting", "rest", "packing", "failed"];

/** What the buttons of a row do. @type {Record<"incoming" | "outgoing", (item: any) => import("./files-view.js").Doing>} */
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
  // What came of a folder that is not wanted any more is saved only on request.
  for (const one of filesOf(item)) if (one.saving === "rest" && item instanceof FolderView) one.saving = undefined;
  for (const one of filesOf(item)) if (!isOver(one)) list.cancel(one);
}

/** @param {any} list @param {any} item that is over */
function remove(list, item) {
  for (const one of filesOf(item)) {
    list.remove(one);
    told.delete(one.id);
  }
  changed();
}

/** @returns {any[]} what can be received now */
function offered() {
  if (!isConnected()) return [];
  return itemsOf("incoming", incoming.list).filter((item) => item.state === "offered" && item.readable && item.listed !== false);
}

/**
 * Receives files, each by itself, and each folder as an archive.
 * @param {any[]} items
 */
function receive(items) {
  for (const item of items) {
    /** @type {import("./incoming.js").Target} */
    const target = item instanceof FolderView ? { kind: "archive", batch: item.id, name: `${item.name}.zip` } : { kind: "downloads" };
    for (const one of filesOf(item)) incoming.accept(one, one.state === "damaged" ? undefined : target);
  }
}

/** Receives all of it as one archive. @param {any[]} items */
function receiveTogether(items) {
  /** @type {import("./incoming.js").Target} */
  const target = { kind: "archive", batch: randomId(), name: "files.zip" };
  for (const one of items.flatMap(filesOf)) incoming.accept(one, target);
}

/** Receives all of it into a directory that the user chooses. @param {any[]} items */
async function receiveInto(items) {
  /** @type {FileSystemDirectoryHandle | undefined} */
  let directory;
  try {
    directory = await showDirectoryPicker?.({ id: "files", mode: "readwrite", startIn: "downloads" });
  } catch (error) {
    // Nothing was chosen, or the browser does not let this page ask.
    if (!(error instanceof DOMException) || error.name !== "AbortError") showProblem("no-directory");
  }
  if (directory === undefined) return;
  for (const one of items.flatMap(filesOf)) incoming.accept(one, { kind: "directory", name: directory.name, directory });
}

/** Saves what is complete: each file by itself, and each folder as an archive. @param {any[]} items */
function save(items) {
  for (const item of items) {
    const files = filesOf(item).filter(({ state, saving }) => state === "done" && saving !== "written");
    if (item instanceof FolderView) saving.toArchive(files, `${item.name}.zip`);
    else saving.toDownloads(files);
  }
}

/** @returns {any[]} what was received, and is still kept by this page */
function saved() {
  return itemsOf("incoming", incoming.list).filter((item) => item.state === "done" && item.saving !== "written" && !["waiting", "packing"].includes(item.saving));
}

/** @type {Map<string, string>} states that were told, by the ids of their transfers */
const told = new Map();
/** How many are told of one by one; of more, only what they come to. */
const MAX_SPOKEN = 3;

/**
 * @param {"incoming" | "outgoing"} [direction]
 * @param {any} [one]
 */
function changed(direction, one) {
  const before = told.get(one?.id);
  if (one && before !== one.state) {
    told.set(one.id, one.state);
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
/** Shows what has changed, once for many changes. */
function showSoon() {
  showing ??= setTimeout(showAll, SHOW_AFTER);
}

/** @type {ReturnType<typeof setInterval> | undefined} */
let watching;
/** @type {WakeLockSentinel | undefined} */
let awake;
/** Whether the browser is being asked for it, or does not give it. */
let asking = false;

/** Shows what moves, as long as something does, and keeps the screen of a phone on. */
function watch() {
  watching ??= setInterval(() => {
    const moves = showAll();
    keepAwake(moves && isConnected());
    if (moves) return;
    clearInterval(watching);
    watching = undefined;
  }, SHOW_EVERY);
}

/** A phone that sleeps sends nothing. @param {boolean} on */
async function keepAwake(on) {
  if (!on) {
    awake?.release();
    awake = undefined;
  } else if (!asking && (awake === undefined || awake.released) && document.visibilityState === "visible") {
    asking = true;
    awake = await navigator.wakeLock?.request("screen").catch(() => undefined); // the battery is low
    asking = awake === undefined; // and is not asked again
  }
}

/** @returns {boolean} whether something moves */
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
/** Keeps what there is for the case of a reload, once for a thousand files. */
function keepTransfers() {
  keeping ??= setTimeout(keepNow, KEEP_AFTER);
}

function keepNow() {
  clearTimeout(keeping);
  keeping = undefined;
  if (!restored) return;
  saveTransfers({ outgoing: outgoing.kept, incoming: incoming.kept });
}

/** @param {import("./chosen.js").Chosen} chosen */
function send({ choices, problems }) {
  if (outgoing.offer(choices) > 0) showProblem("too-many");
  for (const problem of problems) showProblem(problem);
}

const [choice, within] = ["choose", "choose-within"].map((id) => /** @type {HTMLInputElement} */ (element(id)));
const choose = () => choice.click();
const chooseFolder = () => within.click();

/** Wires the buttons of the lists. @param {Link} given */
export function wireTransfers(given) {
  link = given;
  element("choose-files").addEventListener("click", choose);
  element("choose-folder").addEventListener("click", chooseFolder);
  element("choose-folder").hidden = !("webkitdirectory" in HTMLInputElement.prototype);
  for (const input of [choice, within]) {
    input.addEventListener("change", () => {
      send(fromInput(input.files ?? []));
      input.value = ""; // the same one can be chosen again
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
    if (event.dataTransfer) fromDrop(event.dataTransfer.items).then(send);
  });
  addEventListener("pagehide", keepNow);
}
