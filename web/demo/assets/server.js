/** What the pages say of the server: whether it answers, and why it does not. */

import { InboxError } from "../inbox.js";
import { clearProblems, showProblem } from "./view.js";

/** How long the server has to answer before it counts as back: one that goes down can let a connection through. */
const BACK_TIMEOUT = 1500;

/** What can be wrong with the server for the moment, and for good, as names in words.js. */
const passing = ["server-away", "draining", "server-full", "rate-limited", "intruder"];
const final = ["unauthorized", "replaced", "closed", "proxy-auth", "not-inbox"];

/**
 * Shows a problem while the server does not answer.
 * @param {import("../inbox.js").Inbox} inbox
 * @param {AbortSignal} signal ends it
 * @param {object} on
 * @param {() => void} on.first the server answers for the first time
 * @param {(before: boolean) => void} [on.open] it answers; before: and did not for a while
 * @param {() => void} [on.away] it does not answer
 */
export function watchServer(inbox, signal, { first, open = () => {}, away = () => {} }) {
  let opened = false;
  let isAway = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let settling;
  const fine = () => {
    if (signal.aborted) return;
    clearProblems(...passing);
    open(opened && isAway);
    isAway = false;
  };
  inbox.onopen = () => {
    if (signal.aborted) return;
    clearTimeout(settling);
    if (opened) {
      settling = setTimeout(fine, BACK_TIMEOUT);
      return;
    }
    fine();
    opened = true;
    first();
  };
  inbox.onaway = (error) => {
    if (signal.aborted) return;
    clearTimeout(settling);
    isAway = true;
    const name = problemOf(error);
    clearProblems(...passing.filter((other) => other !== name));
    showProblem(name);
    away();
  };
}

/**
 * @param {unknown} error that passes
 * @returns {string} its name in words.js
 */
export function problemOf(error) {
  const code = error instanceof InboxError ? error.code : "";
  if (code === "not-inbox") return "intruder";
  return [...passing, "inbox-full"].includes(code) ? code : "server-away";
}

/**
 * @param {unknown} error that ended an inbox
 * @returns {string} its name in words.js
 */
export function reasonOf(error) {
  const code = error instanceof InboxError ? error.code : "";
  if (final.includes(code)) return code;
  console.warn("the server refused", error);
  return "refused";
}
