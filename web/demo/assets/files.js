/** The files page: opens an inbox, connects with one peer, and sends files in both directions. */

import { Inbox, randomId, randomPassword } from "../inbox.js";
import { claim } from "./claim.js";
import { say, showState } from "./files-view.js";
import { endingWords } from "./files-words.js";
import { refusals } from "./failures.js";
import { keepIce, showIce } from "./ice.js";
import { Meeting } from "./meeting.js";
import { cleanName, friendlyName } from "./names.js";
import { pathWords } from "./path.js";
import { reasonOf, watchServer } from "./server.js";
import { faultOfId, loadName, loadTab, saveName, saveTab, tab } from "./settings.js";
import { linkTo, peerOfLink, secureAddress, showLink, wireLink } from "./share.js";
import { beginEmpty, detach, incoming, outgoing, restore, showAll, wireTransfers } from "./transfers.js";
import { clearAllProblems, clearProblems, element, showProblem } from "./view.js";
import { webrtcFault } from "./webrtc.js";

/** When a page that does not open was probably closed for good, in milliseconds. */
const CLOSED_AFTER = 30_000;

/** Where the user's own name is typed. @type {HTMLInputElement} */
const name = element("name");

/** @type {import("./settings.js").Kept} */
let self = loadTab("files") ?? { id: "", password: "" };
/** @type {Inbox | undefined} */
let inbox;
/** @type {Meeting | undefined} */
let meeting;
let leaving = new AbortController();
/** Whether the channel for files is open; it stays so while the connection is interrupted. */
let attached = false;
/** @type {import("./failures.js").Ending} */
let ending = "hung-up";
/** @type {string | undefined} */
let cause;
/** @type {import("./files-view.js").State} */
let shown = "opening";
/** What is wrong while calling, as a name in words.js; empty if nothing is. */
let met = "";
/** Runs while nobody may come yet; null once it has run out. @type {ReturnType<typeof setTimeout> | null | undefined} */
let gone;
/** Goes on here with what another tab does. */
let move = () => {};
/** How the two are connected, in words; empty while they are not. */
let short = "";

/**
 * @param {string} [to] whom to call
 * @param {object} [options]
 * @param {boolean} [options.back] whether the two were connected before
 * @param {string} [options.peerName] what the other side was called then
 * @param {boolean} [options.take] whether to take what another tab does
 */
async function start(to, { back = false, peerName, take = false } = {}) {
  clearAllProblems();
  if (self.id === "") self = { id: randomId(), password: randomPassword() };
  leaving = new AbortController();
  const { signal } = leaving;
  name.placeholder = friendlyName(self.id);
  state("opening");
  const release = await claim("files", self, { take, onlost: () => stop("replaced") });
  if (signal.aborted) return release?.();
  if (!release) {
    move = () => start(to, { back, peerName, take: true });
    return state("elsewhere");
  }
  signal.addEventListener("abort", release);
  await restore();
  if (signal.aborted) return;

  keep({ running: true, peer: to, worked: back, peerName });
  showLink(linkTo("files", self.id));
  const one = (inbox = new Inbox(new URL("inbox", location.href), { id: self.id, password: self.password, storage: tab }));
  const now = (meeting = new Meeting({
    inbox: one, page, asks: false, name: loadName() || friendlyName(self.id),
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

/** What the meeting tells, and asks for. @type {import("./meeting.js").Page} */
const page = {
  onstate: (now) => state(now),
  onname: () => state(shown),
  onstep(name) {
    if (name === "returned") say(`${theirName()} is back.`);
    if (name === "away") say(`${theirName()} left the page.`);
  },
  onproblem(name) {
    // The panel says what is wrong with the call that is being made.
    if (refusals.includes(name) && !meeting?.worked) return meets(name);
    showProblem(name, {
      advanced() {
        showIce(true);
        element("advanced").scrollIntoView();
      },
      reload: () => location.reload(),
    });
  },
  onfine(...names) {
    clearProblems(...names);
    if (names.includes(met)) meets("");
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
    detach();
  },
  ondata(data) {
    outgoing.hear(data);
    incoming.hear(data);
  },
  onend(why, error) {
    ending = why;
    cause = error?.tried.cause;
    document.body.dataset.ending = why;
    say(endingWords(why).text);
  },
  onchange: () => keep({ running: meeting?.running, peer: meeting?.peer, worked: meeting?.worked, peerName: meeting?.peerName }),
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

/** What the other side is called, at the beginning of a sentence. */
const theirName = () => meeting?.peerName || "The other side";

/** @param {import("./files-view.js").State} now */
function state(now) {
  if (now !== shown) meets("");
  shown = now;
  showState(now, { linked: isLinked(), ending, cause, name: meeting?.peerName ?? "", met, gone: gone === null, short });
  showAll();
}

/**
 * Says in the panel what is wrong while calling, and after a while that it stays so.
 * @param {string} name of the problem in words.js; empty if nothing is
 */
function meets(name) {
  if (name === met) return;
  met = name;
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

/** @returns {boolean} whether something can go over now */
const isConnected = () => attached && shown === "connected";

/** @returns {boolean} whether this page is to be connected with the one that a link names */
function isLinked() {
  const linked = peerOfLink();
  return linked !== undefined && linked !== self.id;
}

/**
 * Nothing helps but a person: says so, and asks the server for nothing more.
 * @param {string} name of the problem in words.js
 */
function stop(name) {
  const again = { back: meeting?.worked, peerName: meeting?.peerName || undefined, take: true };
  const to = meeting?.peer;
  leave();
  state("stopped");
  const go = () => start(to, again);
  showProblem(name, { resume: go, retry: go });
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

wireLink("Receive my files");
wireTransfers({
  say: (data) => meeting?.say(data) ?? false,
  isConnected,
  isOpen: () => !["insecure", "unable", "stopped", "elsewhere"].includes(shown),
});
name.value = loadName();
name.addEventListener("change", () => {
  name.value = cleanName(name.value);
  saveName(name.value);
  meeting?.rename(name.value || friendlyName(self.id));
});
showIce();
element("ice").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!keepIce()) return;
  /** @type {HTMLDetailsElement} */ (element("advanced")).open = false;
  say("Kept for the next connection.");
});
element("leave").addEventListener("click", () => meeting?.hangUp());
element("again").addEventListener("click", () => meeting?.again());
element("move-here").addEventListener("click", () => move());
element("anew").addEventListener("click", () => {
  const left = inbox;
  if (shown === "elsewhere") beginEmpty();
  leave();
  left?.close({ signal: AbortSignal.timeout(5000) }).catch(() => {}); // it expires anyway
  self = { id: "", password: "" };
  history.replaceState(undefined, "", location.pathname);
  start();
});

addEventListener("pageshow", (event) => {
  // A page out of the browser's cache has lost its connections.
  if (event.persisted) location.reload();
});
addEventListener("hashchange", () => {
  if (["insecure", "unable", "elsewhere"].includes(shown)) return;
  // Another link was opened in this tab.
  if (peerOfLink() === self.id) return showProblem("own-link");
  if (meeting?.peer === undefined) open();
});

/** Does what the page's link says. */
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

/** Goes on with what this tab did before, if the page's link does not say otherwise. */
function goOn() {
  const { running, peer, worked, peerName } = self;
  const linked = peerOfLink();
  if (running && peer !== undefined && (linked === undefined || linked === peer || linked === self.id)) start(peer, { back: worked, peerName });
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
  goOn();
}
