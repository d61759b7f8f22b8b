/** The files page: opens an inbox, connects to one peer or to the people in a room, and sends files in both directions. */

import { Inbox, randomId, randomPassword } from "../inbox.js";
import { claim } from "./claim.js";
import { wireCodes } from "./codes.js";
import { showState } from "./files-view.js";
import { endingWords } from "./files-words.js";
import { refusals } from "./failures.js";
import { keepIce, showIce } from "./ice.js";
import { Meeting } from "./meeting.js";
import { cleanName, friendlyName } from "./names.js";
import { pathWords } from "./path.js";
import { aimOfChoice, resetAim, wireRoom } from "./room-view.js";
import { reasonOf, watchServer } from "./server.js";
import { faultOfId, loadName, loadTab, saveName, saveTab, tab } from "./settings.js";
import { linkTo, linkToRoom, peerOfLink, roomOfLink, secureAddress, showLink, wireLink } from "./share.js";
import { beginEmpty, detach, enterRoom, leaveRoom, restore, showAll, solo, wireTransfers } from "./transfers.js";
import { announce, clearAllProblems, clearProblems, element, showProblem } from "./view.js";
import { webrtcFault } from "./webrtc.js";

/** A page that stays closed for this long, in milliseconds, was probably closed for good. */
const CLOSED_AFTER = 30_000;

/** The field for this person's name. @type {HTMLInputElement} */
const name = element("name");

/** @type {import("./settings.js").Kept} */
let self = loadTab("files") ?? { id: "", password: "" };
/** @type {Inbox | undefined} */
let inbox;
/** @type {Meeting | undefined} */
let meeting;
/** The room, instead of a meeting. @type {import("./files-room.js").FilesRoom | undefined} */
let room;
let leaving = new AbortController();
/** Whether the channel for files is open; it stays so while the connection is interrupted. */
let attached = false;
/** @type {import("./failures.js").Ending} */
let ending = "hung-up";
/** @type {string | undefined} */
let cause;
/** @type {import("./files-view.js").State} */
let shown = "opening";
/** The problem while calling, as a name in words.js; empty without a problem. */
let problem = "";
/** The timer after which a closed page counts as gone; null once it has fired. @type {ReturnType<typeof setTimeout> | null | undefined} */
let gone;
/** Takes the transfers over from another tab. */
let move = () => {};
/** How the two are connected, as a short text; empty while they are not. */
let short = "";
/** Whether the other person has left the page. */
let away = false;

/**
 * Claims this tab's id, and restores its transfers.
 * @param {boolean} take whether to take the transfers over from another tab
 * @param {() => void} again starts again and takes them
 * @returns {Promise<AbortSignal | undefined>} aborted when the page leaves; undefined if it is not to start
 */
async function prepare(take, again) {
  clearAllProblems();
  if (self.id === "") self = { id: randomId(), password: randomPassword() };
  leaving = new AbortController();
  const { signal } = leaving;
  name.placeholder = friendlyName(self.id);
  state("opening");
  const release = await claim("files", self, { take, onlost: () => stop("replaced") });
  if (signal.aborted) {
    release?.();
  } else if (!release) {
    move = again;
    state("elsewhere");
  } else {
    signal.addEventListener("abort", release);
    await restore();
    if (!signal.aborted) return signal;
  }
  return undefined;
}

/**
 * Enters a room.
 * @param {string} id its name
 * @param {{take?: boolean}} [options]
 */
async function enter(id, { take = false } = {}) {
  const signal = await prepare(take, () => enter(id, { take: true }));
  if (!signal) return;
  // Files offered in one room are not offered in another.
  if (self.room !== id) leaveRoom();
  enterRoom();
  keep({ running: true, room: id, peer: undefined, worked: false, peerName: undefined });
  resetAim();
  showLink(linkToRoom("files", id));
  try {
    const found = await stay(id, signal);
    if (signal.aborted || found) return;
    leave();
    state("full");
  } catch (error) {
    if (!signal.aborted) stop(reasonOf(error));
  }
}

/**
 * Stays in a room until the signal is aborted.
 * @param {string} id its name
 * @param {AbortSignal} signal
 * @returns {Promise<boolean>} whether there was a place
 */
async function stay(id, signal) {
  // Only a page in a room loads these modules.
  const loaded = await import("./files-room.js").catch((error) => console.debug("modules could not be loaded", error));
  if (signal.aborted) return true;
  if (!loaded) {
    stop("unreachable");
    return true;
  }
  const one = (inbox = new Inbox(new URL("inbox", location.href), { id: self.id, password: self.password, storage: tab }));
  watchServer(one, signal, { first() {} });
  const now = (room = new loaded.FilesRoom({ inbox: one, room: id, name: ownName(), doing: helping, onchange: () => room === now && state("room") }));
  return now.run(signal);
}

/**
 * Connects to one person, or waits for one.
 * @param {string} [to] whom to call
 * @param {object} [options]
 * @param {boolean} [options.back] whether the two were connected before
 * @param {string} [options.peerName] the other person's name then
 * @param {boolean} [options.take] whether to take the transfers over from another tab
 */
async function start(to, { back = false, peerName, take = false } = {}) {
  const signal = await prepare(take, () => start(to, { back, peerName, take: true }));
  if (!signal) return;
  leaveRoom();
  keep({ running: true, room: undefined, peer: to, worked: back, peerName });
  showLink(linkTo("files", self.id));
  const one = (inbox = new Inbox(new URL("inbox", location.href), { id: self.id, password: self.password, storage: tab }));
  const now = (meeting = new Meeting({
    inbox: one, page, asks: false, name: ownName(),
    known: to === undefined || peerName === undefined ? undefined : { peer: to, name: peerName },
  }));
  watchServer(one, signal, {
    first() {
      if (to !== undefined) now.dial(to, back);
      else if (now.peer === undefined) state("waiting");
    },
  });
  try {
    await now.run(signal);
  } catch (error) {
    if (!signal.aborted) stop(reasonOf(error));
  }
}

/** The actions of the buttons of problems with connections. */
const helping = {
  advanced() {
    showIce(true);
    element("advanced").scrollIntoView();
  },
  reload: () => location.reload(),
};

/** The callbacks of the meeting. @type {import("./meeting.js").Page} */
const page = {
  onstate: (now) => state(now),
  onname: () => state(shown),
  onstep(name) {
    away = name === "away";
    if (away) state(shown);
  },
  onproblem(name) {
    // The panel shows problems of an outgoing call.
    if (refusals.includes(name) && !meeting?.worked) return setProblem(name);
    showProblem(name, helping);
  },
  onfine(...names) {
    clearProblems(...names);
    if (names.includes(problem)) setProblem("");
  },
  onpath(path) {
    document.body.dataset.path = path.kind;
    short = pathWords(path).short;
    state(shown);
  },
  onchannel(open) {
    if (open) return;
    attached = false;
    short = "";
    delete document.body.dataset.path;
    detach(solo);
  },
  ondata: (data) => solo.handle(data),
  onend(why, error) {
    ending = why;
    cause = error?.tried.cause;
    document.body.dataset.ending = why;
    announce(endingWords(why, meeting?.peerName).text);
  },
  onchange: () => keep({ running: meeting?.running, peer: meeting?.peer, worked: meeting?.worked, peerName: meeting?.peerName }),
  prepare: async () => {},
  setup(pc) {
    const channel = pc.createDataChannel("files", { negotiated: true, id: 1 });
    solo.attach(channel, () => meeting?.pc === pc, () => (attached = true));
    channel.addEventListener("open", () => showAll());
  },
};

/** @param {import("./files-view.js").State} now */
function state(now) {
  if (now !== shown) setProblem("");
  if (now !== "reconnecting") away = false;
  shown = now;
  showState(now, { linked: isLinked(), ending, cause, name: meeting?.peerName ?? "", problem, gone: gone === null, short, away, room: room?.view });
  showAll();
}

/**
 * Shows a problem while calling in the panel, and after a while that it lasts.
 * @param {string} name of the problem in words.js; empty without a problem
 */
function setProblem(name) {
  if (name === problem) return;
  problem = name;
  clearTimeout(gone ?? undefined);
  gone = undefined;
  if (name !== "no-such-inbox") {
    if (name !== "") state(shown);
    return;
  }
  gone = setTimeout(() => {
    gone = null;
    state(shown);
  }, CLOSED_AFTER);
  state(shown);
}

/** @returns {string} this person's name */
const ownName = () => loadName() || friendlyName(self.id);

/** @returns {boolean} whether files can be sent now */
const isConnected = () => attached && shown === "connected";

/** @returns {boolean} whether a link to someone else opened this page */
function isLinked() {
  const linked = peerOfLink();
  return linked !== undefined && linked !== self.id;
}

/**
 * Stops the page and shows a problem that only a person can solve.
 * @param {string} name of the problem in words.js
 */
function stop(name) {
  const again = { back: meeting?.worked, peerName: meeting?.peerName || undefined, take: true };
  const [to, inRoom] = [meeting?.peer, self.room];
  leave();
  state("stopped");
  const go = () => (inRoom === undefined ? start(to, again) : enter(inRoom, { take: true }));
  showProblem(name, { resume: go, retry: go });
}

/** Disconnects and stops receiving. */
function leave() {
  leaving.abort();
  meeting?.close();
  meeting = undefined;
  room = undefined;
  inbox = undefined;
  clearAllProblems();
  keep({ running: false, peer: undefined, worked: false });
}

/** @param {Partial<import("./settings.js").Kept>} changes */
function keep(changes) {
  self = { ...self, ...changes };
  if (self.id !== "") saveTab("files", self);
}

wireLink("Receive my files");
wireCodes("files", () => self);
wireRoom(() => state("room"));
solo.connect({ send: (data) => meeting?.send(data) ?? false, isConnected });
wireTransfers({
  aim: () => ({ room: self.room !== undefined, to: aimOfChoice() }),
  isOpen: () => !["insecure", "unable", "stopped", "elsewhere", "full", "outside"].includes(shown),
});
name.value = loadName();
name.addEventListener("change", () => {
  name.value = cleanName(name.value);
  saveName(name.value);
  meeting?.rename(ownName());
  room?.rename(ownName());
});
showIce();
element("ice").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!keepIce()) return;
  /** @type {HTMLDetailsElement} */ (element("advanced")).open = false;
  announce("Saved for the next connection.");
});
element("leave").addEventListener("click", () => {
  if (room) {
    leave();
    state("outside");
  } else meeting?.hangUp();
});
element("again").addEventListener("click", () => (meeting ? meeting.again() : self.room !== undefined && enter(self.room)));
element("open-room").addEventListener("click", () => {
  history.replaceState(undefined, "", linkToRoom("files", randomId()));
  open();
});
element("move-here").addEventListener("click", () => move());
element("new-link").addEventListener("click", () => {
  const left = inbox;
  if (shown === "elsewhere") beginEmpty();
  leave();
  left?.close({ signal: AbortSignal.timeout(5000) }).catch(() => {}); // it expires anyway
  self = { id: "", password: "" };
  history.replaceState(undefined, "", location.pathname);
  start();
});

addEventListener("pageshow", (event) => {
  // A page that the browser restores from its cache has lost its connections.
  if (event.persisted) location.reload();
});
addEventListener("hashchange", () => {
  if (["insecure", "unable", "elsewhere"].includes(shown)) return;
  // Another link was opened in this tab.
  if (peerOfLink() === self.id) return showProblem("own-link");
  if (room && roomOfLink() === self.room) return;
  if (meeting?.peer === undefined) open();
});

/** Connects to the person whose link opened this page, enters a room, or waits for someone. */
function open() {
  const [linked, linkedRoom] = [peerOfLink(), roomOfLink()];
  leave();
  if (faultOfId(linked ?? linkedRoom ?? "-") !== undefined) {
    start();
    showProblem("broken-link");
  } else if (linkedRoom !== undefined) {
    enter(linkedRoom);
  } else if (linked !== undefined && linked !== self.id) {
    start(linked);
  } else {
    start();
    if (linked !== undefined) showProblem("own-link");
  }
}

/** Continues what this tab did before a reload, unless its link leads to someone else. */
function resume() {
  const { running, peer, worked, peerName } = self;
  const linked = peerOfLink();
  if (running && peer !== undefined && roomOfLink() === undefined && (linked === undefined || linked === peer || linked === self.id)) start(peer, { back: worked, peerName });
  else open();
}

if (!isSecureContext) {
  state("insecure");
  showProblem("files-insecure", { https: () => location.assign(secureAddress()) });
} else if (webrtcFault() !== undefined) {
  console.debug("no connections:", webrtcFault());
  state("unable");
  showProblem("no-webrtc", { reload: () => location.reload() });
} else {
  resume();
}
