/** The files page: opens an inbox, connects with one peer, and sends files in both directions. */

import { Inbox, InboxError, randomId, randomPassword } from "../inbox.js";
import { removeRow, say, showState, showTransfer } from "./files-view.js";
import { problemOf } from "./failures.js";
import { endingWords } from "./files-words.js";
import { keepIce, showIce } from "./ice.js";
import { Incoming } from "./incoming.js";
import { Meeting } from "./meeting.js";
import { friendlyName } from "./names.js";
import { Outgoing } from "./outgoing.js";
import { removeForgotten, writesToDisk } from "./parts.js";
import { pathWords } from "./path.js";
import { faultOfId, loadName, loadTab, loadTransfers, saveTab, saveTransfers, tab } from "./settings.js";
import { linkTo, peerOfLink, showLink, wireLink } from "./share.js";
import { isOver } from "./transfer.js";
import { clearAllProblems, clearProblems, element, showProblem, showStatus } from "./view.js";

/** How often what moves is shown anew. */
const SHOWN = 250;

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

/** @type {Record<string, (one: any) => import("./files-view.js").Doing>} */
const doing = {
  outgoing: (one) => ({
    ...(one.state === "unreadable" && { "Choose it again": choose }),
    ...(isOver(one) ? { Remove: () => remove("outgoing", outgoing, one) } : { Cancel: () => outgoing.cancel(one) }),
  }),
  incoming: (one) => ({
    ...(one.state === "offered" && isConnected() && one.readable && { Receive: () => incoming.accept(one) }),
    ...(one.state === "damaged" && isConnected() && { "Receive again": () => incoming.accept(one) }),
    ...(one.state === "done" && { "Save again": () => save(one) }),
    ...(isOver(one) ? { Remove: () => remove("incoming", incoming, one) }
      : { [one.state === "offered" ? "Decline" : "Cancel"]: () => incoming.cancel(one) }),
  }),
};

/** @type {Map<string, string>} states that were told, by the ids of their transfers */
const told = new Map();

/**
 * @param {"incoming" | "outgoing"} direction
 * @param {any} one
 */
function changed(direction, one) {
  const before = told.get(one.id);
  if (before !== one.state) {
    told.set(one.id, one.state);
    keepTransfers();
    showTransfer(direction, one, isConnected(), doing[direction]);
    if (direction === "incoming" && one.state === "offered") say(`${one.name} is offered to you.`);
    if (one.state === "done") say(`${one.name} is complete.`);
    if (one.state === "damaged") say(`${one.name} came damaged.`);
    if (direction === "incoming" && one.state === "done" && before === "checking") save(one);
  }
  watch();
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
    showAll();
    const moves = [...outgoing.list, ...incoming.list].some(({ state }) => state === "going" || state === "checking");
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

function showAll() {
  for (const one of outgoing.list) showTransfer("outgoing", one, isConnected(), doing.outgoing);
  for (const one of incoming.list) showTransfer("incoming", one, isConnected(), doing.incoming);
  element("accept-all").hidden = !isConnected() || incoming.list.filter(({ state, readable }) => state === "offered" && readable).length < 2;
}

/**
 * @param {"incoming" | "outgoing"} direction
 * @param {Incoming | Outgoing} list
 * @param {any} one
 */
function remove(direction, list, one) {
  list.remove(one);
  told.delete(one.id);
  removeRow(one.id, direction);
  keepTransfers();
}

let keeping = false;
/** Keeps what there is for the case of a reload, once for a thousand files that are chosen together. */
function keepTransfers() {
  if (keeping) return;
  keeping = true;
  queueMicrotask(() => {
    keeping = false;
    saveTransfers({ outgoing: outgoing.kept, incoming: incoming.kept });
  });
}

/** Gives a file that is complete to the browser's downloads. @param {import("./incoming.js").Received} one */
async function save(one) {
  const blob = await incoming.file(one);
  if (!blob) return;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = one.name;
  link.click();
  // The browser has begun to read by then; it keeps what it reads.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
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

/** @param {Iterable<File>} files */
function send(files) {
  if (outgoing.offer(files) > 0) showProblem("too-many");
}

const choice = /** @type {HTMLInputElement} */ (element("choose"));
const choose = () => choice.click();

wireLink("Receive my files");
showIce();
element("ice").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!keepIce()) return;
  /** @type {HTMLDetailsElement} */ (element("advanced")).open = false;
  say("Kept for the next connection.");
});
element("choose-files").addEventListener("click", choose);
choice.addEventListener("change", () => {
  send(choice.files ?? []);
  choice.value = ""; // the same one can be chosen again
});
element("accept-all").addEventListener("click", () => {
  for (const one of incoming.list) if (one.state === "offered" && one.readable) incoming.accept(one);
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
  // A folder is no file; a file has something to be read, or is empty.
  const items = [...(event.dataTransfer?.items ?? [])].filter((item) => item.webkitGetAsEntry?.()?.isDirectory !== true);
  const files = items.map((item) => item.getAsFile()).filter((file) => file !== null);
  if (files.length < (event.dataTransfer?.items.length ?? 0)) showProblem("folder");
  send(files);
});

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
  const linked = peerOfLink();
  if (before.running && before.peer !== undefined && (linked === undefined || linked === before.peer || linked === self.id)) start(before.peer, before.worked);
  else open();
}
