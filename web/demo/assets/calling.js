/** The panel while this page calls: what is known of the other side, for how long, and what else can be done. */

import { element } from "./view.js";
import { problems } from "./words.js";

/** When a page that does not open was probably closed for good. */
const CLOSED_AFTER = 30_000;

let since = 0;
/** What is known: "rings", or a problem in words.js. */
let known = "";
let serverAway = false;
/** @type {ReturnType<typeof setInterval> | undefined} */
let ticking;
/** @type {() => void} */
let onchange = () => {};

/** Begins to count. @param {() => void} changed called when the title has changed */
export function beginCalling(changed) {
  if (ticking !== undefined) return show();
  onchange = changed;
  since = performance.now();
  ticking = setInterval(show, 1000);
  show();
}

/** This page does not call any more. */
export function endCalling() {
  clearInterval(ticking);
  ticking = undefined;
  known = "";
  serverAway = false;
}

/** @param {boolean} away whether the server does not answer, which a notice says too */
export function callingWithout(away) {
  serverAway = away;
  show();
}

/** @param {string} name what is known of the call: "rings", or a problem in words.js */
export function callingMet(name) {
  known = name;
  show();
}

/** @param {...string} names of what is over */
export function callingFine(...names) {
  if (!names.includes(known)) return;
  known = "";
  show();
}

/** @returns {string} */
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
  element("calling-title").textContent = callingTitle() || "Calling";
  element("calling-text").textContent = serverAway ? "The call goes on when the server answers again."
    : known === "rings" ? "It rings there."
    : known === "no-such-inbox" && isGone() ? "The page behind the link has not been open since you called. If it was closed, its link does not work any more. Ask for a new link, or give them yours."
    : known === "no-such-inbox" ? problem.text
    : problem ? `${problem.title} ${problem.text}` : "Waiting for an answer…";
  element("own-link").hidden = known !== "no-such-inbox" || serverAway;
  const seconds = Math.floor((performance.now() - since) / 1000);
  element("calling-time").textContent = `Calling for ${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  if (before !== element("calling-title").textContent) onchange();
}
