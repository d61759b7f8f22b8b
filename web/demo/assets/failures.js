/** Translates the SDK's errors into problems, which may pass, and endings. */

import { CallError, InboxError } from "../inbox.js";
import { problemOf } from "./server.js";

/** Reasons why the server rejected a message, as names in words.js. They end once a message gets through. */
export const refusals = ["no-such-inbox", "inbox-full", "server-full", "rate-limited"];

/**
 * How a call, or an attempt at one, ended.
 *
 * - after the two were connected: `hung-up`, `bye`, `left`, `lost`
 * - of an outgoing call: `cancelled`, `busy`, `declined`, `no-answer`, `gave-up`, `not-sent`
 * - of an incoming call: `refused`, `missed`, `unanswered`
 * - of either, after an answer: `no-path`, `dropped`, `no-candidates`, `no-candidates-there`,
 *   `no-webrtc`, `setup-failed`, `peer-failed`, `peer-no-webrtc`
 * @typedef {"hung-up" | "bye" | "left" | "lost" | "cancelled" | "busy" | "declined" | "no-answer" | "gave-up" | "not-sent"
 *   | "refused" | "missed" | "unanswered" | "no-path" | "dropped" | "no-candidates" | "no-candidates-there"
 *   | "no-webrtc" | "setup-failed" | "peer-failed" | "peer-no-webrtc"} Ending
 */

/**
 * @param {unknown} error
 * @param {boolean} lasting whether to keep looking for the peer without end
 * @returns {string | undefined} the problem if it may pass, as a name in words.js; undefined if it is final
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

/** The SDK's causes of a missing path that words.js explains. */
export const PATH_PROBLEMS = ["no-path", "udp-blocked", "relay-unreachable", "relay-refused", "relay-busy", "relay-failed", "no-relay", "peer-no-relay", "dns"];

/**
 * @param {unknown} error of a call that found no path
 * @returns {string} its cause, as a name in words.js
 */
export function problemOfPath(error) {
  const cause = error instanceof CallError ? error.tried.cause : undefined;
  return cause && PATH_PROBLEMS.includes(cause) ? cause : "no-path";
}

/** Endings that keep two people of a group call apart. After the others, they are about to be connected again. */
const lasting = ["no-path", "no-candidates", "no-candidates-there", "no-webrtc", "setup-failed", "peer-failed", "peer-no-webrtc"];

/**
 * @param {unknown} error why two people of a group call are not connected; undefined if they are
 * @returns {string | undefined} the name of a problem or of an ending in words.js; undefined if there is nothing to explain
 */
export function failureInGroup(error) {
  if (!(error instanceof CallError)) return undefined;
  const why = endingOf(error);
  return why === "no-path" ? problemOfPath(error) : lasting.includes(why) ? why : undefined;
}

/** Endings whose cause the test page may find. */
const testable = ["no-path", "lost", "no-candidates", "no-webrtc", "not-sent"];

/**
 * Shows a link to the test page after a failed call. The link passes the ending and the cause on.
 * @param {HTMLElement} place the parent of the link
 * @param {Ending | undefined} why
 * @param {string} [cause] as the SDK names it
 */
export function offerTest(place, why, cause) {
  place.hidden = why === undefined || !testable.includes(why);
  const known = new URLSearchParams({ ended: why ?? "", ...(cause && { cause }) });
  /** @type {HTMLAnchorElement} */ (place.firstElementChild).href = `test#${known}`;
}

/**
 * @param {Ending} why
 * @returns {Ending} the corresponding ending of a call that was never connected
 */
export function unconnected(why) {
  if (why === "hung-up") return "cancelled";
  return why === "bye" || why === "left" ? "dropped" : why;
}
