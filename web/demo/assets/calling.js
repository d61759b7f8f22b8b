/** The panel of an outgoing call: its progress, its duration, and what else the caller can do. */

import { announce, element, setText } from "./view.js";
import { problems } from "./words.js";

/** A page that stays closed for this long, in milliseconds, was probably closed for good. */
const CLOSED_AFTER = 30_000;

let since = 0;
/** The progress of the call: "rings", or a problem in words.js. */
let known = "";
let serverAway = false;
/** @type {ReturnType<typeof setInterval> | undefined} */
let ticking;
/** @type {() => void} */
let onchange = () => {};

/** Shows the panel and starts its clock. @param {() => void} changed called when the title changes */
export function beginCalling(changed) {
  if (ticking !== undefined) return show();
  onchange = changed;
  since = performance.now();
  ticking = setInterval(show, 1000);
  show();
}

/** Stops the clock: the call was answered or ended. */
export function endCalling() {
  clearInterval(ticking);
  ticking = undefined;
  known = "";
  serverAway = false;
}

/** @param {boolean} away whether the server does not answer; a notice says so too */
export function setServerAway(away) {
  serverAway = away;
  show();
}

/** @param {string} name the progress of the call: "rings", or a problem in words.js */
export function setProgress(name) {
  known = name;
  show();
}

/** @param {...string} names of problems that are over */
export function clearProgress(...names) {
  if (!names.includes(known)) return;
  known = "";
  show();
}

/** @returns {string} the title of the panel if it is a problem; empty otherwise */
export function callingTitle() {
  if (known === "no-such-inbox" && !serverAway) return isGone() ? "Nobody is there" : "Nobody is there yet";
  return "";
}

const isGone = () => performance.now() - since > CLOSED_AFTER;

function show() {
  if (ticking === undefined) return;
  const panel = element("calling");
  const before = element("calling-title").textContent;
  const problem = problems[known];
  if (problem && !serverAway) panel.dataset.problem = known;
  else delete panel.dataset.problem;
  setText(element("calling-title"), callingTitle() || "Calling");
  const text = serverAway ? "Your call continues when the server answers again."
    : known === "rings" ? "It is ringing on their side. Waiting for them to answer…"
    : known === "no-such-inbox" && isGone() ? "The page that made this link has not been open since you called. If it was closed, the link does not work any more. Ask for a new link, or send them yours."
    : known === "no-such-inbox" ? problem.text
    : problem ? `${problem.title} ${problem.text}` : "Waiting for them to answer…";
  if (problem && !serverAway && element("calling-text").textContent !== text) announce(text);
  setText(element("calling-text"), text);
  element("own-link").hidden = known !== "no-such-inbox" || serverAway;
  const seconds = Math.floor((performance.now() - since) / 1000);
  element("calling-time").textContent = `Calling for ${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  if (before !== element("calling-title").textContent) onchange();
}
