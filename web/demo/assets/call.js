/** The call page: opens the inbox, hands its messages to the calls, and wires the buttons. */

import { Calls, problemOf, step } from "./calls.js";
import { copy } from "./copy.js";
import { Inbox, InboxError } from "./mailbox.js";
import { OwnMedia } from "./media.js";
import { linkTo, loadTab, peerOfLink, saveTab, tab } from "./settings.js";
import { Setup } from "./setup.js";
import { addLine, clearAllProblems, clearProblems, element, showChat, showProblem, showState } from "./view.js";

const own = new OwnMedia();
const setup = new Setup(start);
const link = /** @type {HTMLInputElement} */ (element("link"));

/** What can be wrong with the server, as names in words.js. */
const serverProblems = ["server-away", "draining", "server-full", "rate-limited"];

/** @type {import("./settings.js").Kept} */
let self = loadTab() ?? { id: "", password: "" };
/** @type {Inbox | undefined} */
let inbox;
/** @type {Calls | undefined} */
let calls;
let leaving = new AbortController();

/** @param {import("./setup.js").Choice} choice */
async function start({ id, password, wish, ask, to }) {
  keep({ id, password, wish, ask, running: true, peer: to });
  clearAllProblems();
  element("log").replaceChildren();
  showChat(false);
  link.value = linkTo(id);
  element("copied").textContent = "";
  leaving = new AbortController();
  const { signal } = leaving;

  showState("media");
  own.wish = wish;
  await own.open();
  if (signal.aborted) return;

  showState("opening");
  inbox = new Inbox({ url: new URL("inbox", location.href), id, password, storage: tab });
  calls = new Calls({
    inbox,
    id,
    own,
    asks: ask,
    onchange: () => keep({ running: calls?.running, peer: calls?.peer }),
    onadvanced: () => {
      calls?.hangUp();
      backToSetup({ advanced: true });
    },
  });
  try {
    await receive(inbox, calls, signal, to);
  } catch (error) {
    if (!signal.aborted) stop(error);
  }
}

/**
 * @param {Inbox} inbox
 * @param {Calls} calls
 * @param {AbortSignal} signal
 * @param {string} [to] whom to call when the inbox is open
 */
async function receive(inbox, calls, signal, to) {
  let opened = false;
  const onopen = () => {
    clearProblems(...serverProblems);
    document.body.dataset.server = "open";
    step(opened ? "server-back" : "inbox-open");
    if (!opened && to !== undefined) calls.dial(to);
    else if (!opened) showState("waiting");
    opened = true;
  };
  /** @param {InboxError} error */
  const onaway = (error) => {
    document.body.dataset.server = "away";
    const name = problemOf(error);
    clearProblems(...serverProblems.filter((other) => other !== name));
    showProblem(name, { wake: () => inbox.wake() });
  };
  for await (const item of inbox.messages({ signal, onopen, onaway })) {
    if (item.type === "reset") {
      step("inbox-reset");
      continue;
    }
    try {
      await calls.take(item.from, item.data);
    } catch (error) {
      // One that cannot be handled today cannot be handled tomorrow either.
      console.warn("a message was not understood", error);
    }
  }
}

/**
 * Nothing helps but a person: says so, and asks the server for nothing more.
 * @param {unknown} error
 */
function stop(error) {
  const code = error instanceof InboxError ? error.code : "";
  const name = ["unauthorized", "replaced", "closed"].includes(code) ? code : "refused";
  if (name === "refused") console.warn("the server refused", error);
  const again = { wish: own.wish, ask: calls?.asks ?? true, to: calls?.peer };
  if (name === "unauthorized") {
    backToSetup();
  } else {
    leave();
    showState("stopped");
  }
  showProblem(name, { resume: () => start({ id: self.id, password: self.password, ...again }) });
}

/** Ends everything that goes on in this page. */
function leave() {
  leaving.abort();
  calls?.close();
  calls = undefined;
  inbox = undefined;
  own.close();
  clearAllProblems();
  delete document.body.dataset.server;
  keep({ running: false, peer: undefined });
}

/** @param {{advanced?: boolean}} [options] */
function backToSetup(options) {
  leave();
  const fault = setup.show(self, options);
  showState("setup");
  if (fault) showProblem(fault);
}

/**
 * Keeps what this tab needs to go on after a reload.
 * @param {Partial<import("./settings.js").Kept>} changes
 */
function keep(changes) {
  self = { ...self, ...changes };
  if (self.id !== "") saveTab(self);
}

/**
 * @param {string} id
 * @param {() => void} act
 */
const onclick = (id, act) => element(id).addEventListener("click", act);

onclick("mute", () => own.toggle("audio"));
onclick("camera-off", () => own.toggle("video"));
onclick("hang-up", () => calls?.hangUp());
onclick("give-up", () => calls?.hangUp());
onclick("answer", () => calls?.answer());
onclick("decline", () => calls?.decline());
onclick("again", () => calls?.again());
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
onclick("copy-link", async () => {
  element("copied").textContent = (await copy(link.value)) ? "Copied." : "Select the link and copy it.";
});
onclick("share-link", () => {
  navigator.share({ title: "Call me", url: link.value }).catch(() => {}); // not shared after all
});
element("share-link").hidden = navigator.share === undefined;

element("compose").addEventListener("submit", (event) => {
  event.preventDefault();
  const input = /** @type {HTMLInputElement} */ (element("text"));
  const text = input.value.trim();
  if (text === "" || !calls?.write(text)) return;
  addLine("mine", text);
  input.value = "";
});

const remote = /** @type {HTMLVideoElement} */ (element("remote"));
for (const event of ["resize", "emptied", "playing"]) {
  remote.addEventListener(event, () => {
    document.body.dataset.remote = remote.videoWidth > 0 ? "picture" : "none";
  });
}

addEventListener("online", () => inbox?.wake());
addEventListener("pagehide", () => calls?.hide());
addEventListener("pageshow", (event) => {
  // A page out of the browser's cache has lost its connections.
  if (event.persisted) location.reload();
});
addEventListener("hashchange", () => {
  // Another link was opened in this tab. A call that goes on is not ended by that.
  if (calls?.peer !== undefined) return;
  if (calls !== undefined && peerOfLink() === self.id) showProblem("own-link");
  else backToSetup();
});

const [navigation] = /** @type {PerformanceNavigationTiming[]} */ (performance.getEntriesByType("navigation"));
const linked = peerOfLink();
// A page that was loaded again goes on. One that came here by a link to somebody else does what the link says.
if (self.running && (navigation?.type === "reload" || linked === undefined || linked === self.peer)) {
  start({ ...self, wish: self.wish ?? "both", ask: self.ask === true, to: self.peer });
} else {
  backToSetup();
}
