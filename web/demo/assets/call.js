/** The call page: opens the inbox, lets calls be made and taken, and wires the buttons. */

import { Inbox } from "../inbox.js";
import { addLine, showChat, showName, showOwn, showRemote, showState } from "./call-view.js";
import { beginCalling, callingFine, callingMet, callingTitle, callingWithout, endCalling } from "./calling.js";
import { claim } from "./claim.js";
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
import { againWords, answerWords, endingTitle, endings, steps } from "./words.js";

/** How long a page that went away has to come back: a reload takes a moment. */
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
/** How the two are connected, in words; empty while they are not. */
let short = "";
/** Whether this side shares its screen. */
let shared = false;
/** @type {import("./failures.js").Ending} */
let ending = "hung-up";
/** Goes on here with what another tab does. */
let move = () => {};

/** @param {string} name of a step in words.js */
const step = (name) => addLine("step", /** @type {Record<string, string>} */ (steps)[name], { step: name });

/**
 * Adds what somebody said, and keeps it for the case of a reload.
 * @param {"mine" | "theirs"} kind
 * @param {string} text
 */
function talk(kind, text) {
  addLine(kind, text);
  keepLine({ kind, text, at: Date.now() });
}

/**
 * @param {import("./setup.js").Choice & {worked?: boolean, peerName?: string}} choice
 * @param {{take?: boolean, resume?: boolean}} [options] take: what another tab does; resume: what this tab did
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
  for (const { kind, text, at } of loadChat()) addLine(kind, text, { at: new Date(at) });
  showChat(false);
  showLink(linkTo("call", id));

  // While the click that started it still counts.
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
      callingWithout(false);
      document.body.dataset.server = "open";
      if (before) step("server-back");
    },
    away() {
      callingWithout(true);
      document.body.dataset.server = "away";
    },
  });
  try {
    await now.run(signal);
  } catch (error) {
    if (!signal.aborted) stop(reasonOf(error));
  }
}

/** @param {boolean} audible whether a call that rings is heard */
function showRingFault(audible) {
  if (audible) clearProblems("silent-ring");
  else showProblem("silent-ring", { sound: allowRing });
}

/** Once somebody has touched the page. */
async function allowRing() {
  if (!document.querySelector("[data-problem='silent-ring']")) return;
  showRingFault(await prepareRing());
  if (document.body.dataset.state === "ringing") startRing();
}

/** What the meeting tells, and asks for. @type {import("./meeting.js").Page} */
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
    if (name === "rings-there") callingMet("rings");
  },
  onproblem(name) {
    // The panel says what is wrong with the call that is being made.
    if (refusals.includes(name) && !meeting?.worked) callingMet(name);
    else showProblem(name, { advanced: () => backToSetup({ advanced: true }), reload: () => location.reload() });
  },
  onfine(...names) {
    clearProblems(...names);
    callingFine(...names);
  },
  onpath(path) {
    document.body.dataset.path = path.kind;
    const words = pathWords(path);
    short = words.short;
    const name = meeting?.peerName ?? "";
    showStatus(name === "" ? short : `${short} · ${isolate(name)}`);
    addLine("step", words.long, { step: "connected" });
  },
  onchannel(open) {
    showChat(open);
    if (open) meeting?.say(own.told);
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
    addLine("step", endings[why], { step: why });
    if (error?.tried) console.debug("what was tried:", error.tried);
    showRemote(undefined);
    forgetTheirs();
    // From now on nothing turns the camera on by itself.
    if (meeting && meeting.rest === "ended") {
      meeting.asks = true;
      own.close();
      shared = false;
      element("over-title").textContent = endingTitle(why);
      element("over-text").textContent = endings[why];
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
  meeting?.say(own.told);
  const shares = own.screen !== undefined;
  if (shares !== shared) step(shares ? "screen" : "no-screen");
  shared = shares;
};

function forgetTheirs() {
  short = "";
  for (const name of ["path", "theirCamera", "theirMicrophone", "theirScreen"]) delete document.body.dataset[name];
}

/**
 * Nothing helps but a person: says so, and asks the server for nothing more.
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

/** Ends everything that goes on in this page. */
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
 * Keeps what this tab needs to go on after a reload.
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
  if (text === "" || !meeting?.say({ type: "text", text })) return;
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
  // A page out of the browser's cache has lost its connections.
  if (event.persisted) location.reload();
});
addEventListener("hashchange", () => {
  if (fault !== undefined) return;
  // Another link was opened in this tab. A call that goes on is not ended by that.
  if (meeting?.peer !== undefined) return;
  if (meeting !== undefined && peerOfLink() === self.id) showProblem("own-link");
  else backToSetup();
});

/** From here on this page calls nobody by itself. */
function forgetLink() {
  history.replaceState(undefined, "", location.pathname + location.search);
}

showOwn(own);
const fault = webrtcFault();
const [navigation] = /** @type {PerformanceNavigationTiming[]} */ (performance.getEntriesByType("navigation"));
const linked = peerOfLink();
// A page that was loaded again goes on. One that came here by a link to somebody else does what the link says.
if (fault !== undefined) {
  element("unable-reason").textContent = fault;
  showState("unable");
} else if (self.running && (navigation?.type === "reload" || linked === undefined || linked === self.peer)) {
  start({ ...self, wish: self.wish ?? "both", random: self.random ?? true, ask: self.ask !== false, to: self.peer }, { resume: true });
} else {
  backToSetup();
}
