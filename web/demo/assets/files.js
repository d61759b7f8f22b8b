/** The files page: opens an inbox, connects with one peer, and sends files in both directions. */

import { Inbox, InboxError, randomId, randomPassword } from "../inbox.js";
import { fromDrop, fromInput } from "./chosen.js";
import { problemOf } from "./failures.js";
import { say, showLists, showState, showTotal, unfold } from "./files-view.js";
import { endingWords } from "./files-words.js";
import { FolderView, itemsOf } from "./folder.js";
import { keepIce, showIce } from "./ice.js";
import { Incoming } from "./incoming.js";
import { Meeting } from "./meeting.js";
import { friendlyName } from "./names.js";
import { Outgoing } from "./outgoing.js";
import { removeForgotten, writesToDisk } from "./parts.js";
import { pathWords } from "./path.js";
import { Progress } from "./progress.js";
import { Saving } from "./saving.js";
import { faultOfId, loadName, loadTab, loadTransfers, saveTab, saveTransfers, tab } from "./settings.js";
import { linkTo, peerOfLink, showLink, wireLink } from "./share.js";
import { isOver } from "./transfer.js";
import { clearAllProblems, clearProblems, element, showProblem, showStatus } from "./view.js";

/** How often what moves is shown, and how soon a change, in milliseconds. */
const SHOWN = 250;
const SOON = 40;
/** How soon what is kept over a reload follows a change, in milliseconds. */
const KEPT = 500;

/** What can be wrong with the server, as names in words.js. */
const serverProblems = ["server-away", "draining", "server-full", "rate-limited"];

/** @type {import("./settings.js").Kept} */
let self = loadTab("files") ?? { id: "", password: "" };
/** @type {Inbox | undefined} */
let inbox;
/** @type {Meeting | undefined} */
let meeting;
let leaving = new AbortController();
/** Whether the channel for files is open; it stays so while the connection is interrupted. */
let attached = false;
/** @type {string | undefined} */
let ending;
/** @type {import("./files-view.js").State} */
let shown = "opening";

const speak = (/** @type {object} */ data) => meeting?.say(data) ?? false;
const outgoing = new Outgoing({ say: speak, onchange: (one) => changed("outgoing", one) });
const incoming = new Incoming({ say: speak, onchange: (one) => changed("incoming", one) });
const saving = new Saving({
  file: (one) => incoming.file(one),
  release: (one) => incoming.release(one),
  onchange: () => changed(),
});
const progress = new Progress();

/** @param {string} [to] whom to call @param {boolean} [back] whether the two were connected before */
async function start(to, back = false) {
  clearAllProblems();
  if (self.id === "") self = { id: randomId(), password: randomPassword() };
  keep({ running: true, peer: to, worked: back });
  leaving = new AbortController();
  const { signal } = leaving;
  showLink(linkTo("files", self.id));
  state("opening");
  const one = (inbox = new Inbox(new URL("inbox", location.href), { id: self.id, password: self.password, storage: tab }));
  const now = (meeting = new Meeting({ inbox: one, page, asks: false, name: loadName() || friendlyName(self.id) }));
  let opened = false;
  one.onopen = () => {
    if (signal.aborted) return;
    clearProblems(...serverProblems);
    if (!opened && to !== undefined) now.dial(to, back);
    else if (!opened && now.peer === undefined) state("waiting");
    opened = true;
  };
  one.onaway = (error) => {
    if (signal.aborted) return;
    const name = problemOf(error);
    clearProblems(...serverProblems.filter((other) => other !== name));
    showProblem(name);
  };
  try {
    await now.run(signal);
  } catch (error) {
    if (!signal.aborted) stop(error);
  }
}

/** What the meeting tells, and asks for. @type {import("./meeting.js").Page} */
const page = {
  onstate: (now) => state(now),
  onstep(name) {
    if (name === "returned") say("The other side is back.");
    if (name === "away") say("The other side left its page.");
  },
  onproblem: (name) => showProblem(name, {
    advanced() {
      showIce(true);
      element("advanced").scrollIntoView();
    },
  }),
  onfine: (...names) => clearProblems(...names),
  onpath(path) {
    document.body.dataset.path = path.kind;
    showStatus(pathWords(path).short);
  },
  onchannel(open) {
    if (!open) detach();
  },
  ondata(data) {
    outgoing.hear(data);
    incoming.hear(data);
  },
  onend(why) {
    ending = endingWords(why);
    document.body.dataset.ending = why;
    say(ending);
  },
  onchange: () => keep({ running: meeting?.running, peer: meeting?.peer, worked: meeting?.worked }),
  prepare: async () => {},
  setup(pc) {
    const channel = pc.createDataChannel("files", { negotiated: true, id: 1 });
    incoming.attach(channel);
    channel.onopen = () => {
      if (meeting?.pc !== pc) return;
      attached = true;
      outgoing.attach(channel);
      showAll();
    };
  },
};

function detach() {
  attached = false;
  delete document.body.dataset.path;
  outgoing.detach();
  incoming.detach();
  progress.pause();
  showAll();
}

/** @param {import("./files-view.js").State} now */
function state(now) {
  shown = now;
  showState(now, { linked: isLinked(), ending });
  showAll();
}

/** @returns {boolean} whether something can go over now */
const isConnected = () => attached && shown === "connected";

/** @returns {boolean} whether this page is to be connected with the one that a link names */
function isLinked() {
  const linked = peerOfLink();
  return linked !== undefined && linked !== self.id;
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
const SPOKEN = 3;

/**
 * @param {"incoming" | "outgoing"} [direction]
 * @param {any} [one]
 */
function changed(direction, one) {
  const before = told.get(one?.id);
  if (one && before !== one.state) {
    told.set(one.id, one.state);
    const few = [...outgoing.list, ...incoming.list].filter((other) => !isOver(other)).length <= SPOKEN;
    if (direction === "incoming" && one.state === "offered" && few) say(`${one.folder?.path[0] ?? one.name} is offered to you.`);
    if (one.state === "done" && few) say(`${one.folder?.path[0] ?? one.name} is complete.`);
    if (one.state === "damaged") say(`${one.name} came damaged.`);
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
  showing ??= setTimeout(showAll, SOON);
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
  }, SHOWN);
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
function showAll() {
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
  keeping ??= setTimeout(keepNow, KEPT);
}

function keepNow() {
  clearTimeout(keeping);
  keeping = undefined;
  saveTransfers({ outgoing: outgoing.kept, incoming: incoming.kept });
}

/**
 * Nothing helps but a person: says so, and asks the server for nothing more.
 * @param {unknown} error
 */
function stop(error) {
  const code = error instanceof InboxError ? error.code : "";
  const name = ["unauthorized", "replaced", "closed"].includes(code) ? code : "refused";
  if (name === "refused") console.warn("the server refused", error);
  const [to, back] = [meeting?.peer, meeting?.worked];
  leave();
  state("stopped");
  showProblem(name, { resume: () => start(to, back) });
}

/** Ends what goes on between this page and others. */
function leave() {
  leaving.abort();
  meeting?.close();
  meeting = undefined;
  inbox = undefined;
  clearAllProblems();
  keep({ running: false, peer: undefined, worked: false });
}

/** @param {Partial<import("./settings.js").Kept>} changes */
function keep(changes) {
  self = { ...self, ...changes };
  if (self.id !== "") saveTab("files", self);
}

/** @param {import("./chosen.js").Chosen} chosen */
function send({ choices, problems }) {
  if (outgoing.offer(choices) > 0) showProblem("too-many");
  for (const problem of problems) showProblem(problem);
}

const [choice, within] = ["choose", "choose-within"].map((id) => /** @type {HTMLInputElement} */ (element(id)));
const choose = () => choice.click();
const chooseFolder = () => within.click();

wireLink("Receive my files");
showIce();
element("ice").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!keepIce()) return;
  /** @type {HTMLDetailsElement} */ (element("advanced")).open = false;
  say("Kept for the next connection.");
});
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
element("leave").addEventListener("click", () => meeting?.hangUp());
element("again").addEventListener("click", () => meeting?.again());
element("anew").addEventListener("click", () => {
  const left = inbox;
  leave();
  left?.close({ signal: AbortSignal.timeout(5000) }).catch(() => {}); // it expires anyway
  self = { id: "", password: "" };
  history.replaceState(undefined, "", location.pathname);
  start();
});

let dragged = 0;
const drags = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files") && shown !== "insecure" && shown !== "stopped";
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
addEventListener("pageshow", (event) => {
  // A page out of the browser's cache has lost its connections.
  if (event.persisted) location.reload();
});
addEventListener("hashchange", () => {
  // Another link was opened in this tab.
  if (peerOfLink() === self.id) return showProblem("own-link");
  if (meeting?.peer === undefined) open();
});

/** Does what the page's link says, or goes on with what this tab did. */
function open() {
  const linked = peerOfLink();
  leave();
  if (linked !== undefined && faultOfId(linked) !== undefined) {
    start();
    showProblem("broken-link");
  } else if (linked !== undefined && linked !== self.id) {
    start(linked);
  } else {
    start();
    if (linked !== undefined) showProblem("own-link");
  }
}

if (!isSecureContext) {
  state("insecure");
  showProblem("files-insecure");
} else {
  const before = self;
  removeForgotten().catch(() => {});
  element("in-memory").hidden = await writesToDisk();
  const { outgoing: sent, incoming: received } = loadTransfers();
  outgoing.restore(sent);
  await incoming.restore(received);
  saving.restore(incoming.list);
  const linked = peerOfLink();
  if (before.running && before.peer !== undefined && (linked === undefined || linked === before.peer || linked === self.id)) start(before.peer, before.worked);
  else open();
}
