/** The call page: opens the inbox, makes and answers calls, and wires the buttons. */

import { Inbox } from "../inbox.js";
import { addLine, showChat, showName, showOwn, showRemote, showState } from "./call-view.js";
import { beginCalling, callingTitle, clearProgress, endCalling, setProgress, setServerAway } from "./calling.js";
import { claim } from "./claim.js";
import { wireCodes } from "./codes.js";
import { wireDevices } from "./devices.js";
import { offerTest, refusals } from "./failures.js";
import { OwnMedia } from "./media.js";
import { Meeting } from "./meeting.js";
import { cleanText, friendlyName, isolate } from "./names.js";
import { pathWords } from "./path.js";
import { closeRing, prepareRing, startRing, stopRing } from "./ring.js";
import { reasonOf, watchServer } from "./server.js";
import { forgetChat, keepLine, loadChat, loadName, loadTab, saveTab, tab } from "./settings.js";
import { Setup } from "./setup.js";
import { linkTo, peerOfLink, secureAddress, showLink, wireLink } from "./share.js";
import { clearAllProblems, clearProblems, element, showProblem, showStatus } from "./view.js";
import { webrtcFault } from "./webrtc.js";
import { againWords, answerWords, awayWords, endingTitle, endingWords, stepWords } from "./words.js";

/** How long to wait for a page that went away, in milliseconds. A reload takes a moment. */
const MAX_ABSENCE = 20_000;

const own = new OwnMedia();
const setup = new Setup(start);

/** @type {import("./settings.js").Kept} */
let self = loadTab("call") ?? { id: "", password: "" };
/** @type {Inbox | undefined} */
let inbox;
/** @type {Meeting | undefined} */
let meeting;
let leaving = new AbortController();
/** How the two are connected, as a short text; empty while they are not. */
let short = "";
/** Whether this side shares its screen. */
let shared = false;
/** @type {import("./failures.js").Ending} */
let ending = "hung-up";
/** Takes the call over from another tab. */
let move = () => {};

/** @param {string} name of a step in words.js */
const step = (name) => addLine("step", stepWords(name, meeting?.peerName ?? ""), { step: name });

/** @param {"mine" | "theirs"} kind @param {string} [name] the other person's, if it is known */
const authorOf = (kind, name = meeting?.peerName) => (kind === "mine" ? "You" : name || "The other person");

/**
 * Adds a chat message to the log, and keeps it for a reload.
 * @param {"mine" | "theirs"} kind
 * @param {string} text
 */
function talk(kind, text) {
  addLine(kind, text, { author: authorOf(kind) });
  keepLine({ kind, text, at: Date.now() });
}

/**
 * @param {import("./setup.js").Choice & {worked?: boolean, peerName?: string}} choice
 * @param {{take?: boolean, resume?: boolean}} [options] take: take the call over from another tab; resume: continue what
 *   this tab did before a reload
 */
async function start(choice, { take = false, resume = take } = {}) {
  const { id, password, random, wish, ask, to, worked = false, peerName } = choice;
  leaving = new AbortController();
  const { signal } = leaving;
  clearAllProblems();
  showState("opening");
  const release = await claim("call", { id, password }, { take, onlost: () => stop("replaced") });
  if (signal.aborted) return release?.();
  if (!release) {
    move = () => start(choice, { take: true, resume });
    return showState("elsewhere");
  }
  signal.addEventListener("abort", release);

  keep({ id, password, random, wish, ask, running: true, peer: to, worked, peerName });
  element("log").replaceChildren();
  if (!resume) forgetChat();
  for (const { kind, text, at } of loadChat()) addLine(kind, text, { author: authorOf(kind, peerName), at: new Date(at) });
  showChat(false);
  showLink(linkTo("call", id));

  // Browsers allow sound for a short time after the click.
  const audible = prepareRing();
  showState("media");
  own.wish = wish;
  await own.open();
  if (signal.aborted) return;

  if (ask) showRingFault(await audible);
  if (signal.aborted) return;
  showState("opening");
  const one = (inbox = new Inbox(new URL("inbox", location.href), { id, password, storage: tab }));
  const now = (meeting = new Meeting({
    inbox: one, page, asks: ask, absence: MAX_ABSENCE,
    name: loadName() || friendlyName(id),
    known: to === undefined || peerName === undefined ? undefined : { peer: to, name: peerName },
  }));
  watchServer(one, signal, {
    first() {
      step("inbox-open");
      if (to !== undefined) now.dial(to, worked);
      else if (now.peer === undefined) showState("waiting");
    },
    open(before) {
      setServerAway(false);
      document.body.dataset.server = "open";
      if (before) step("server-back");
    },
    away() {
      setServerAway(true);
      document.body.dataset.server = "away";
    },
  });
  try {
    await now.run(signal);
  } catch (error) {
    if (!signal.aborted) stop(reasonOf(error));
  }
}

/** @param {boolean} audible whether a ring can be heard */
function showRingFault(audible) {
  if (audible) clearProblems("silent-ring");
  else showProblem("silent-ring", { sound: allowRing });
}

/** Tries again to get permission for sound, after a click or a key. */
async function allowRing() {
  if (!document.querySelector("[data-problem='silent-ring']")) return;
  showRingFault(await prepareRing());
  if (document.body.dataset.state === "ringing") startRing();
}

/** The callbacks of the meeting. @type {import("./meeting.js").Page} */
const page = {
  onstate(state, name) {
    showState(state, name, state === "ended" ? endingTitle(ending) : state === "calling" ? callingTitle() : "");
    if (state === "calling") beginCalling(() => showName(meeting?.peerName ?? "", callingTitle()));
    else endCalling();
    element("ringing-text").textContent = answerWords(own.wish);
    if (state === "ringing") startRing();
    else stopRing();
  },
  onname(name) {
    showName(name);
    if (short !== "") showStatus(`${short} · ${isolate(name)}`);
  },
  onstep(name) {
    step(name);
    if (name === "rings-there") setProgress("rings");
    if (name === "away") showStatus(awayWords(meeting?.peerName ?? ""));
  },
  onproblem(name) {
    // The panel shows problems of an outgoing call.
    if (refusals.includes(name) && !meeting?.worked) setProgress(name);
    else showProblem(name, { advanced: () => backToSetup({ advanced: true }), reload: () => location.reload() });
  },
  onfine(...names) {
    clearProblems(...names);
    clearProgress(...names);
  },
  onpath(path) {
    document.body.dataset.path = path.kind;
    const words = pathWords(path);
    short = words.short;
    const name = meeting?.peerName ?? "";
    showStatus(name === "" ? short : `${short} · ${isolate(name)}`);
    addLine("step", words.long, { step: "connected", details: words.details });
  },
  onchannel(open) {
    showChat(open);
    if (open) meeting?.send(own.state);
  },
  ondata({ type, text, camera, microphone, screen }) {
    if (type === "text" && typeof text === "string" && text !== "") {
      talk("theirs", cleanText(text));
    } else if (type === "media") {
      if (screen === true && document.body.dataset.theirScreen !== "on") step("their-screen");
      document.body.dataset.theirCamera = camera === true || screen === true ? "on" : "off";
      document.body.dataset.theirMicrophone = microphone === true ? "on" : "off";
      document.body.dataset.theirScreen = screen === true ? "on" : "off";
    }
  },
  onend(why, error) {
    ending = why;
    document.body.dataset.ending = why;
    const text = endingWords(why, meeting?.peerName);
    addLine("step", text, { step: why });
    if (error?.tried) console.debug("attempted paths:", error.tried);
    showRemote(undefined);
    forgetTheirs();
    // From now on, only a person turns the camera on.
    if (meeting && meeting.rest === "ended") {
      meeting.asks = true;
      own.close();
      shared = false;
      element("over-title").textContent = endingTitle(why);
      element("over-text").textContent = text;
      offerTest(element("find-out"), why, error?.tried.cause);
      element("again").textContent = againWords(why);
    }
  },
  onchange: () => keep({ running: meeting?.running, peer: meeting?.peer, worked: meeting?.worked, peerName: meeting?.peerName }),
  prepare: async () => {
    if (own.closed) await own.open();
  },
  setup(pc) {
    forgetTheirs();
    const remote = new MediaStream();
    pc.addEventListener("track", ({ track }) => {
      remote.addTrack(track);
      if (meeting?.pc === pc) showRemote(remote);
    });
    own.attach(pc);
  },
};

own.onchange = () => {
  meeting?.send(own.state);
  const shares = own.screen !== undefined;
  if (shares !== shared) step(shares ? "screen" : "no-screen");
  shared = shares;
};

function forgetTheirs() {
  short = "";
  for (const name of ["path", "theirCamera", "theirMicrophone", "theirScreen"]) delete document.body.dataset[name];
}

/**
 * Stops the page and shows a problem that only a person can solve.
 * @param {string} name of the problem in words.js
 */
function stop(name) {
  const again = {
    id: self.id, password: self.password, random: self.random ?? true, wish: own.wish, ask: meeting?.asks ?? true,
    to: meeting?.peer, worked: meeting?.worked, peerName: meeting?.peerName,
  };
  if (name === "unauthorized") {
    backToSetup();
  } else {
    leave();
    showState("stopped");
  }
  const go = () => start(again, { take: true });
  showProblem(name, { resume: go, retry: go });
}

/** Ends the call, closes the camera and stops receiving. */
function leave() {
  leaving.abort();
  meeting?.close();
  meeting = undefined;
  inbox = undefined;
  own.close();
  shared = false;
  closeRing();
  endCalling();
  showRemote(undefined);
  forgetTheirs();
  clearAllProblems();
  delete document.body.dataset.server;
  keep({ running: false, peer: undefined });
}

/** @param {{advanced?: boolean}} [options] */
function backToSetup(options) {
  meeting?.hangUp();
  leave();
  const fault = setup.show(self, options);
  showState("setup");
  if (!isSecureContext) showProblem("insecure", { https: () => location.assign(secureAddress()) });
  if (fault) showProblem(fault);
}

/**
 * Keeps what this tab needs to continue after a reload.
 * @param {Partial<import("./settings.js").Kept>} changes
 */
function keep(changes) {
  self = { ...self, ...changes };
  if (self.id !== "") saveTab("call", self);
}

/**
 * @param {string} id
 * @param {() => void} act
 */
const onclick = (id, act) => element(id).addEventListener("click", act);

wireLink("Call me");
wireCodes("call", () => self);
wireDevices(own);
onclick("mute", () => own.toggle("audio"));
onclick("camera-off", () => own.toggle("video"));
for (const button of ["share-screen", "stop-sharing"]) onclick(button, () => own.toggleScreen());
onclick("hang-up", () => meeting?.hangUp());
onclick("give-up", () => meeting?.hangUp());
onclick("own-link", () => {
  leave();
  forgetLink();
  start({ ...self, random: self.random ?? true, wish: self.wish ?? "both", ask: self.ask !== false, to: undefined });
});
onclick("instead", () => {
  forgetLink();
  backToSetup();
});
onclick("reload", () => location.reload());
for (const event of ["pointerup", "keyup"]) addEventListener(event, allowRing);
onclick("answer", () => meeting?.answer());
onclick("decline", () => meeting?.decline());
onclick("again", () => meeting?.again());
onclick("move-here", () => move());
onclick("new-call", () => {
  self = { id: "", password: "" };
  backToSetup();
});
onclick("fill", () => {
  const fills = document.body.toggleAttribute("data-fill");
  element("fill").setAttribute("aria-pressed", String(fills));
});
for (const button of document.querySelectorAll("[data-leave]")) {
  button.addEventListener("click", () => {
    const left = inbox;
    backToSetup();
    left?.close({ signal: AbortSignal.timeout(5000) }).catch(() => {}); // it expires anyway
  });
}

element("compose").addEventListener("submit", (event) => {
  event.preventDefault();
  const input = /** @type {HTMLInputElement} */ (element("text"));
  const text = input.value.trim();
  if (text === "" || !meeting?.send({ type: "text", text })) return;
  talk("mine", text);
  input.value = "";
});

const remote = /** @type {HTMLVideoElement} */ (element("remote"));
for (const event of ["resize", "emptied", "playing"]) {
  remote.addEventListener(event, () => {
    document.body.dataset.remote = remote.videoWidth > 0 ? "picture" : "none";
  });
}

addEventListener("pageshow", (event) => {
  // A page that the browser restores from its cache has lost its connections.
  if (event.persisted) location.reload();
});
addEventListener("hashchange", () => {
  if (fault !== undefined) return;
  // Another link was opened in this tab. That does not end a call.
  if (meeting?.peer !== undefined) return;
  if (meeting !== undefined && peerOfLink() === self.id) showProblem("own-link");
  else backToSetup();
});

/** Removes the link from the address, so that a reload makes no call. */
function forgetLink() {
  history.replaceState(undefined, "", location.pathname + location.search);
}

showOwn(own);
const fault = webrtcFault();
const [navigation] = /** @type {PerformanceNavigationTiming[]} */ (performance.getEntriesByType("navigation"));
const linked = peerOfLink();
// A reloaded page continues its call, unless it was opened by a link to someone else.
if (fault !== undefined) {
  element("unable-reason").textContent = fault;
  showState("unable");
} else if (self.running && (navigation?.type === "reload" || linked === undefined || linked === self.peer)) {
  start({ ...self, wish: self.wish ?? "both", random: self.random ?? true, ask: self.ask !== false, to: self.peer }, { resume: true });
} else {
  backToSetup();
}
