/** What an error of the SDK means to a person: wrong for the moment, or the end of it. */

import { CallError, InboxError } from "../inbox.js";
import { problemOf } from "./server.js";

/** Refusals of a message, as names in words.js, that pass by themselves once one gets through. */
export const refusals = ["no-such-inbox", "inbox-full", "server-full", "rate-limited"];

/**
 * How a call, or an attempt at one, ended.
 *
 * - after the two were connected: `hung-up`, `bye`, `left`, `lost`
 * - of a call that this side made: `cancelled`, `busy`, `declined`, `no-answer`, `gave-up`, `not-sent`
 * - of a call that came: `refused`, `missed`, `unanswered`
 * - of either, after an answer: `no-path`, `dropped`, `no-candidates`, `no-candidates-there`,
 *   `no-webrtc`, `setup-failed`, `peer-failed`, `peer-no-webrtc`
 * @typedef {"hung-up" | "bye" | "left" | "lost" | "cancelled" | "busy" | "declined" | "no-answer" | "gave-up" | "not-sent"
 *   | "refused" | "missed" | "unanswered" | "no-path" | "dropped" | "no-candidates" | "no-candidates-there"
 *   | "no-webrtc" | "setup-failed" | "peer-failed" | "peer-no-webrtc"} Ending
 */

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
    case "ice-failed":
      if (error.tried.local.length === 0) return "no-candidates";
      return error.tried.remote.length === 0 ? "no-candidates-there" : "no-path";
    case "ended": return "left";
    case "no-webrtc": return "no-webrtc";
    case "peer-failed": return error.reason === "no-webrtc" ? "peer-no-webrtc" : "peer-failed";
    case "setup-failed":
    case "own-id": return "setup-failed";
    case "closed": return "hung-up";
  }
}

/** Why no path was found, as the SDK says it, where there is something to do about it. */
export const PATH_PROBLEMS = ["no-path", "udp-blocked", "relay-unreachable", "relay-refused", "relay-busy", "relay-failed", "no-relay", "peer-no-relay", "dns"];

/**
 * @param {unknown} error of a call that found no path
 * @returns {string} what is wrong, as a name in words.js
 */
export function problemOfPath(error) {
  const cause = error instanceof CallError ? error.tried.cause : undefined;
  return cause && PATH_PROBLEMS.includes(cause) ? cause : "no-path";
}

/** Endings whose cause the page /test may find. */
const testable = ["no-path", "lost", "no-candidates", "no-webrtc", "not-sent"];

/**
 * Offers the test after a call that failed, and tells it how, and the cause that is known.
 * @param {HTMLElement} place of the link
 * @param {Ending | undefined} why
 * @param {string} [cause] as the SDK says it
 */
export function offerTest(place, why, cause) {
  place.hidden = why === undefined || !testable.includes(why);
  const known = new URLSearchParams({ ended: why ?? "", ...(cause && { cause }) });
  /** @type {HTMLAnchorElement} */ (place.firstElementChild).href = `test#${known}`;
}

/**
 * @param {Ending} why
 * @returns {Ending} the same, of two who were never connected
 */
export function unconnected(why) {
  if (why === "hung-up") return "cancelled";
  return why === "bye" || why === "left" ? "dropped" : why;
}
