/** What an error of the SDK means to a person: wrong for the moment, or the end of it. */

import { CallError, InboxError } from "../inbox.js";

/**
 * @typedef {"hung-up" | "bye" | "left" | "lost" | "busy" | "declined" | "no-answer" | "gave-up" | "no-path" | "not-sent"} Ending
 */

/**
 * @param {unknown} error
 * @returns {string} its name in words.js
 */
export function problemOf(error) {
  const code = error instanceof InboxError ? error.code : "";
  return ["server-full", "inbox-full", "rate-limited", "draining"].includes(code) ? code : "server-away";
}

/**
 * @param {unknown} error
 * @param {boolean} lasting whether somebody is to be found again
 * @returns {string | undefined} what is wrong for the moment, as a name in words.js; undefined if it is wrong for good
 */
export function passing(error, lasting) {
  if (error instanceof InboxError) return error.passes ? problemOf(error) : undefined;
  if (!(error instanceof CallError)) return undefined;
  if (error.code === "no-such-peer" || error.code === "ended") return "no-such-inbox";
  if (!lasting) return undefined;
  return error.code === "no-answer" ? "no-such-inbox" : error.code === "ice-failed" ? "slow" : undefined;
}

/**
 * @param {unknown} error
 * @returns {Ending}
 */
export function endingOf(error) {
  if (!(error instanceof CallError)) return "not-sent";
  switch (error.code) {
    case "no-such-peer": return "gave-up";
    case "no-answer": return "no-answer";
    case "rejected": return error.reason === "busy" ? "busy" : "declined";
    case "ice-failed": return "no-path";
    case "ended": return "left";
    case "closed": return "hung-up";
  }
}
