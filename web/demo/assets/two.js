/** A call for two: connects the meeting to the view. */

import { addLine, showChat, showName, showRemote, showState } from "./call-view.js";
import { beginCalling, callingTitle, clearProgress, endCalling, setProgress, setServerAway } from "./calling.js";
import { offerTest, refusals } from "./failures.js";
import { Meeting } from "./meeting.js";
import { allowances } from "./messages.js";
import { cleanText, friendlyName, isolate } from "./names.js";
import { pathWords } from "./path.js";
import { closeRing, prepareRing, startRing, stopRing } from "./ring.js";
import { loadName } from "./settings.js";
import { clearProblems, element, showProblem, showStatus } from "./view.js";
import { againWords, answerWords, awayWords, endingTitle, endingWords, stepWords } from "./words.js";

/** How long to wait for a page that went away, in milliseconds. A reload takes a moment. */
const MAX_ABSENCE = 20_000;

/** Attributes of the body that describe the other person's devices and the connection. */
const FACTS = ["path", "theirCamera", "theirMicrophone", "theirScreen"];

/**
 * @param {import("./call.js").Desk} desk
 * @returns {import("./call.js").Call}
 */
export function callForTwo({ inbox, choice: { id, ask, to, worked = false, peerName }, own, keep, talk, toSetup }) {
  /** How the two are connected, as a short text; empty while they are not. */
  let short = "";
  /** @type {import("./failures.js").Ending} */
  let ending = "hung-up";

  /** @param {string} name of a step in words.js */
  const step = (name) => addLine("step", stepWords(name, meeting.peerName), { step: name });

  const may = allowances();

  const forget = () => {
    short = "";
    for (const name of FACTS) delete document.body.dataset[name];
  };

  const meeting = new Meeting({
    inbox, asks: ask, absence: MAX_ABSENCE,
    name: loadName() || friendlyName(id),
    known: to === undefined || peerName === undefined ? undefined : { peer: to, name: peerName },
    page: {
      onstate(state, name) {
        showState(state, name, state === "ended" ? endingTitle(ending) : state === "calling" ? callingTitle() : "");
        if (state === "calling") beginCalling(() => showName(meeting.peerName, callingTitle()));
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
        if (name === "away") showStatus(awayWords(meeting.peerName));
      },
      onproblem(name) {
        // The panel shows problems of an outgoing call.
        if (refusals.includes(name) && !meeting.worked) setProgress(name);
        else showProblem(name, { advanced: () => toSetup({ advanced: true }), reload: () => location.reload() });
      },
      onfine(...names) {
        clearProblems(...names);
        clearProgress(...names);
      },
      onpath(path) {
        document.body.dataset.path = path.kind;
        const words = pathWords(path);
        short = words.short;
        const name = meeting.peerName;
        showStatus(name === "" ? short : `${short} · ${isolate(name)}`);
        addLine("step", words.long, { step: "connected", details: words.details });
      },
      onchannel(open) {
        showChat(open);
        if (open) meeting.send(own.state);
      },
      ondata({ type, text, camera, microphone, screen }) {
        if (type === "text" && typeof text === "string" && text !== "" && may.text()) {
          talk("theirs", cleanText(text), meeting.peerName);
        } else if (type === "media" && may.news()) {
          if (screen === true && document.body.dataset.theirScreen !== "on") step("their-screen");
          document.body.dataset.theirCamera = camera === true || screen === true ? "on" : "off";
          document.body.dataset.theirMicrophone = microphone === true ? "on" : "off";
          document.body.dataset.theirScreen = screen === true ? "on" : "off";
        }
      },
      onend(why, error) {
        ending = why;
        document.body.dataset.ending = why;
        const text = endingWords(why, meeting.peerName);
        addLine("step", text, { step: why });
        if (error?.tried) console.debug("attempted paths:", error.tried);
        showRemote(undefined);
        forget();
        // From now on, only a person turns the camera on.
        if (meeting.rest === "ended") {
          meeting.asks = true;
          own.close();
          element("over-title").textContent = endingTitle(why);
          element("over-text").textContent = text;
          offerTest(element("find-out"), why, error?.tried.cause);
          element("again").textContent = againWords(why);
        }
      },
      onchange: () => keep({ running: meeting.running, peer: meeting.peer, worked: meeting.worked, peerName: meeting.peerName }),
      prepare: async () => {
        if (own.closed) await own.open();
      },
      setup(pc) {
        forget();
        const remote = new MediaStream();
        pc.addEventListener("track", ({ track }) => {
          remote.addTrack(track);
          if (meeting.pc === pc) showRemote(remote);
        });
        own.attach(pc);
      },
    },
  });

  return {
    get now() {
      return { ask: meeting.asks, to: meeting.peer, worked: meeting.worked, peerName: meeting.peerName };
    },
    get busy() {
      return meeting.peer !== undefined;
    },
    run: (signal) => meeting.run(signal),
    first() {
      step("inbox-open");
      if (to !== undefined) meeting.dial(to, worked);
      else if (meeting.peer === undefined) showState("waiting");
    },
    serverAway: setServerAway,
    send: (data) => meeting.send(data),
    answer: () => meeting.answer(),
    decline: () => meeting.decline(),
    again: () => meeting.again(),
    hangUp: () => meeting.hangUp(),
    close() {
      meeting.close();
      closeRing();
      endCalling();
      showRemote(undefined);
      forget();
    },
  };
}

/** @param {boolean} audible whether a ring can be heard */
export function showRingFault(audible) {
  if (audible) clearProblems("silent-ring");
  else showProblem("silent-ring", { sound: allowRing });
}

/** Tries again to get permission for sound, after a click or a key. */
export async function allowRing() {
  if (!document.querySelector("[data-problem='silent-ring']")) return;
  showRingFault(await prepareRing());
  if (document.body.dataset.state === "ringing") startRing();
}
