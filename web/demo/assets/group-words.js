/** The texts of group calls. */

import { isolate } from "./names.js";

/** The texts of a tile: the name while it is unknown, and the state. @type {Record<import("./tiles.js").TileState | "unknown", string>} */
export const tileWords = {
  unknown: "Someone",
  connecting: "Connecting…",
  slow: "Still connecting…",
  connected: "",
  interrupted: "Reconnecting…",
  failed: "Trying to connect again…",
};

/** Lines in the log, by name. {They} stands for a person. @type {Record<string, string>} */
const steps = {
  "present": "{They} is in the call.",
  "joined": "{They} joined the call.",
  "back": "{They} is back.",
  "gone": "{They} left the call.",
  "apart": "You could not be connected to {them}. {why} This page tries again.",
};

/**
 * Returns the text of a line in the log.
 * @param {string} step
 * @param {string} [name] the person's; empty while it is unknown
 * @param {string} [why] a sentence
 */
export function groupStep(step, name = "", why = "") {
  return steps[step].replace("{They}", name === "" ? "Someone" : isolate(name)).replace("{them}", name === "" ? "someone" : isolate(name)).replace("{why}", why);
}

/**
 * Returns the status at the top.
 * @param {"waiting" | "connecting" | "connected"} state
 * @param {number} people in the call, this one included
 */
export function groupStatus(state, people) {
  return { waiting: "Waiting for others to open the link", connecting: "Connecting", connected: `${people} people in the call` }[state];
}

/** How a group call ended, for the panel. @type {Record<"left" | "full" | "server-full", {title: string, text: string, again: string}>} */
export const groupEndings = {
  "left": { title: "You left the call", text: "The others can continue without you.", again: "Join again" },
  "full": { title: "Six people are already in this call", text: "A group call is for six. Try again when someone has left.", again: "Try again" },
  "server-full": { title: "This call is full", text: "The server allows no more people in it. Try again when someone has left.", again: "Try again" },
};

/** The panel that invites others. @type {Record<"two" | "group", {title: string, text: string, here: string, stop: string, link: string}>} */
export const invitations = {
  two: {
    title: "Send this link to one person",
    text: "This page rings when they open it, so leave it open. A call is for two: anyone else who opens the link meanwhile finds you busy.",
    here: "Open a second window, call yourself from there, and answer here.",
    stop: "Stop waiting",
    link: "Your link",
  },
  group: {
    title: "Send this link to up to five people",
    text: "Everyone who has it can join the call.",
    here: "Open more windows, and join the call from there.",
    stop: "Leave the call",
    link: "The link to this call",
  },
};
