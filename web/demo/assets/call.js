/** The call page: opens the inbox, starts a call for two or a group call, and wires the buttons. */

import { Inbox, randomId } from "../inbox.js";
import { addLine, inviteTo, showChat, showInvitation, showOwn, showState } from "./call-view.js";
import { claim } from "./claim.js";
import { wireCodes } from "./codes.js";
import { wireDevices } from "./devices.js";
import { OwnMedia } from "./media.js";
import { cleanName } from "./names.js";
import { prepareRing } from "./ring.js";
import { reasonOf, watchServer } from "./server.js";
import { forgetChat, keepLine, loadChat, loadTab, saveName, saveTab, tab } from "./settings.js";
import { Setup } from "./setup.js";
import { linkTo, linkToRoom, peerOfLink, roomOfLink, secureAddress, showLink, wireLink } from "./share.js";
import { allowRing, callForTwo, showRingFault } from "./two.js";
import { clearAllProblems, element, showProblem } from "./view.js";
import { webrtcFault } from "./webrtc.js";
import { stepWords } from "./words.js";

/**
 * @typedef {import("./setup.js").Choice & {worked?: boolean, peerName?: string}} Choice
 *
 * What both kinds of call work with.
 * @typedef {object} Desk
 * @property {Inbox} inbox
 * @property {Choice} choice
 * @property {OwnMedia} own
 * @property {(changes: Partial<import("./settings.js").Kept>) => void} keep
 * @property {(kind: "mine" | "theirs", text: string, author?: string) => void} talk adds a message to the chat
 * @property {() => void} leave ends the call without a word
 * @property {(options?: {advanced?: boolean}) => void} toSetup ends the call and shows the form
 *
 * A call for two, or a group call.
 * @typedef {object} Call
 * @property {Partial<Choice>} now what differs from the choice when the call is started once more
 * @property {boolean} busy whether another link does not end it
 * @property {(signal: AbortSignal) => Promise<void>} run
 * @property {() => void} first called when the server answers for the first time
 * @property {(away: boolean) => void} serverAway called when the server does not answer, or answers again
 * @property {(data: object) => boolean} send
 * @property {() => void} hangUp
 * @property {() => void} close ends it without callbacks
 * @property {() => void} [again]
 * @property {() => void} [answer]
 * @property {() => void} [decline]
 */

const own = new OwnMedia();
const setup = new Setup(start, own);

/** @type {import("./settings.js").Kept} */
let self = loadTab("call") ?? { id: "", password: "" };
/** @type {Choice | undefined} */
let choice;
/** @type {Inbox | undefined} */
let inbox;
/** @type {Call | undefined} */
let call;
let leaving = new AbortController();
/** Whether this side shares its screen. */
let shared = false;
/** Takes the call over from another tab. */
let move = () => {};

/** @param {string} name of a step in words.js that names nobody */
const step = (name) => addLine("step", stepWords(name, ""), { step: name });

/** @param {import("./settings.js").Line} line @param {Date} [at] */
const showLine = ({ kind, text, author }, at) => addLine(kind, text, { author: kind === "mine" ? "You" : author || "The other person", at });

/**
 * Adds a chat message to the log, and keeps it for a reload.
 * @param {"mine" | "theirs"} kind
 * @param {string} text
 * @param {string} [author]
 */
function talk(kind, text, author) {
  const line = { kind, text, at: Date.now(), ...(author && { author }) };
  showLine(line);
  keepLine(line);
}

/**
 * @param {Choice} chosen
 * @param {{take?: boolean, resume?: boolean}} [options] take: take the call over from another tab; resume: continue what
 *   this tab did before a reload
 */
async function start(chosen, { take = false, resume = take } = {}) {
  const { id, password, random, wish, ask, to, room, worked, peerName } = (choice = chosen);
  leaving = new AbortController();
  const { signal } = leaving;
  const loading = room === undefined ? undefined : groupModules();
  clearAllProblems();
  document.body.dataset.call = room === undefined ? "two" : "group";
  showState("opening");
  // Leaving a room would take the tab that took over out of it. So a group call waits until the server says that it is replaced.
  const onlost = () => (room === undefined || call === undefined) && stop("replaced");
  const release = await claim("call", { id, password }, { take, onlost });
  if (signal.aborted) return release?.();
  if (!release) {
    move = () => start(chosen, { take: true, resume });
    own.close();
    return showState("elsewhere");
  }
  signal.addEventListener("abort", release);

  keep({ id, password, random, wish, ask, running: true, peer: to, worked, peerName, room });
  element("log").replaceChildren();
  if (!resume) forgetChat();
  for (const line of loadChat()) showLine(line, new Date(line.at));
  showChat(false);
  inviteTo(room === undefined ? "two" : "group");
  showLink(room === undefined ? linkTo("call", id) : linkToRoom("call", room));

  // Browsers allow sound for a short time after the click.
  const audible = prepareRing();
  showState("media");
  await own.start(wish);
  if (signal.aborted) return;

  if (ask && room === undefined) showRingFault(await audible);
  if (signal.aborted) return;
  showState("opening");
  const loaded = await loading;
  if (signal.aborted) return;
  if (room !== undefined && !loaded) return stop("unreachable");
  const one = (inbox = new Inbox(new URL("inbox", location.href), { id, password, storage: tab }));
  const desk = { inbox: one, choice: chosen, own, keep, talk, leave, toSetup: backToSetup };
  const now = (call = loaded && room !== undefined ? loaded.groupCall({ ...desk, choice: { ...chosen, room } }) : callForTwo(desk));
  watchServer(one, signal, {
    first: () => now.first(),
    open(before) {
      now.serverAway(false);
      document.body.dataset.server = "open";
      if (before) step("server-back");
    },
    away() {
      now.serverAway(true);
      document.body.dataset.server = "away";
    },
  });
  try {
    await now.run(signal);
  } catch (error) {
    if (!signal.aborted) stop(reasonOf(error));
  }
}

/** Loads what only a group call needs. */
function groupModules() {
  return import("./group-call.js").catch((error) => console.debug("modules could not be loaded", error));
}

own.onchange = () => {
  call?.send(own.state);
  keep({ off: [...own.off] });
  const shares = own.screen !== undefined;
  if (shares !== shared) step(shares ? "screen" : "no-screen");
  shared = shares;
};

/**
 * Stops the page and shows a problem that only a person can solve.
 * @param {string} name of the problem in words.js
 */
function stop(name) {
  if (choice === undefined) return;
  const again = { ...choice, to: undefined, worked: undefined, peerName: undefined, ...call?.now };
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
  call?.close();
  call = undefined;
  inbox = undefined;
  own.close();
  shared = false;
  clearAllProblems();
  delete document.body.dataset.server;
  keep({ running: false, peer: undefined });
}

/** @param {{advanced?: boolean}} [options] */
function backToSetup(options) {
  call?.hangUp();
  leave();
  if (roomOfLink() !== undefined) void groupModules();
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
onclick("hang-up", () => call?.hangUp());
onclick("give-up", () => call?.hangUp());
for (const button of ["add-people", "close-invite"]) onclick(button, () => showInvitation());
element("invite").addEventListener("keydown", ({ key }) => key === "Escape" && showInvitation(false));
onclick("group", () => {
  saveName(cleanName(/** @type {HTMLInputElement} */ (element("name")).value));
  location.assign(linkToRoom("call", randomId()));
});
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
onclick("answer", () => call?.answer?.());
onclick("decline", () => call?.decline?.());
onclick("again", () => (call ? call.again?.() : choice && start(choice, { resume: true })));
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
  if (text === "" || !call?.send({ type: "text", text })) return;
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
  if (call?.busy) return;
  if (call !== undefined && peerOfLink() === self.id) showProblem("own-link");
  else backToSetup();
});

/** Removes the link from the address, so that a reload makes no call. */
function forgetLink() {
  history.replaceState(undefined, "", location.pathname + location.search);
}

showOwn(own);
const fault = webrtcFault();
const [navigation] = /** @type {PerformanceNavigationTiming[]} */ (performance.getEntriesByType("navigation"));
const linked = [peerOfLink(), roomOfLink()];
own.off = new Set(self.off);
// A reloaded page continues its call, unless it was opened by a link to someone else.
if (fault !== undefined) {
  element("unable-reason").textContent = fault;
  showState("unable");
} else if (self.running && (navigation?.type === "reload" || linked.every((one) => one === undefined) || (linked[0] === self.peer && linked[1] === self.room))) {
  start({ ...self, wish: self.wish ?? "both", random: self.random ?? true, ask: self.ask !== false, to: self.peer }, { resume: true });
} else {
  backToSetup();
}
