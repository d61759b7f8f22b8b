/** Watches whether the server answers, and shows why it does not. */

import { InboxError } from "../inbox.js";
import { clearProblems, showProblem } from "./view.js";

/** How long the server must answer before it counts as back, in milliseconds. A server that is shutting down may accept one more connection. */
const BACK_TIMEOUT = 1500;

/** Problems of the server that may pass, and final ones, as names in words.js. */
const passing = ["server-away", "draining", "server-full", "rate-limited", "intruder"];
const final = ["unauthorized", "replaced", "closed", "proxy-auth", "not-inbox"];

/**
 * Shows a problem while the server does not answer.
 * @param {import("../inbox.js").Inbox} inbox
 * @param {AbortSignal} signal ends it
 * @param {object} on
 * @param {() => void} on.first called when the server answers for the first time
 * @param {(before: boolean) => void} [on.open] called when the server answers; before: whether it was away
 * @param {() => void} [on.away] called when the server does not answer
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
 * @param {unknown} error that may pass
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
