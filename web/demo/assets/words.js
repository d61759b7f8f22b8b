/** What the pages say, all in one place: what is going on, and what is wrong and what helps. */

import { isolate } from "./names.js";

/**
 * @typedef {"setup" | "media" | "opening" | "waiting" | "ringing" | "calling" | "connecting"
 *   | "connected" | "reconnecting" | "ended" | "stopped" | "elsewhere"} State
 */

/**
 * What the call page says at its top.
 * @param {State} state
 * @param {string} name the other side's, or empty while it is unknown
 * @returns {string}
 */
export function stateWords(state, name) {
  const withThem = name === "" ? "" : ` with ${isolate(name)}`;
  switch (state) {
    case "setup": return "Not started";
    case "media": return "Asking for camera and microphone";
    case "opening": return "Opening your inbox";
    case "waiting": return "Waiting for a call";
    case "ringing": return `${name === "" ? "Somebody" : isolate(name)} calls you`;
    case "calling": return name === "" ? "Calling" : `Calling ${isolate(name)}`;
    case "connecting": return `Connecting${withThem}`;
    case "connected": return `Connected${withThem}`;
    case "reconnecting": return `Reconnecting${withThem}`;
    case "ended": return "The call has ended";
    case "stopped": return "Stopped";
    case "elsewhere": return "Open in another tab";
  }
}

/** Lines in the log, by name. */
export const steps = {
  "inbox-open": "Your inbox is open.",
  "inbox-reset": "Your inbox was opened anew: messages may have been missed.",
  "called": "Somebody calls.",
  "rings-there": "It rings on the other side.",
  "accepted": "The other side answered.",
  "connecting": "Looking for a path between the two of you…",
  "interrupted": "The connection was interrupted. Looking for another path…",
  "away": "The other side left the page. Waiting in case it comes back…",
  "returned": "The other side is back.",
  "coming-back": "This page was loaded again. Going back to the other side…",
  "server-back": "The server answers again.",
  "screen": "You share your screen.",
  "no-screen": "You do not share your screen any more.",
  "their-screen": "The other side shares its screen.",
};

/** Why it ended. */
export const endings = {
  "hung-up": "You hung up.",
  "bye": "The other side hung up.",
  "left": "The other side left.",
  "lost": "The connection was lost and did not come back.",
  "busy": "The other side is connected with somebody else. Try again in a while.",
  "declined": "The other side does not want to be called now.",
  "no-answer": "Nobody answered.",
  "gave-up": "The other side did not open the page. Ask them to, then call again.",
  "no-path": "No path was found between the two of you.",
  "not-sent": "The server took no message for the other side.",
};

/**
 * What is wrong. In the text, backticks enclose what one types; action names a button that helps.
 * @typedef {object} Problem
 * @property {string} title
 * @property {string} text
 * @property {"serious"} [weight]
 * @property {"media" | "advanced" | "resume" | "sound"} [action]
 */

/** @type {Record<string, Problem>} */
export const problems = {
  "insecure": {
    title: "This page gets no camera here.",
    text: "Browsers give camera and microphone only to pages opened over https or on localhost. Start the server with `--tls self-signed` and open its https address. The chat works anyway.",
  },
  "media-denied": {
    title: "Camera and microphone are not allowed.",
    text: "Allow them for this page, beside its address, then try again. The chat works anyway.",
    action: "media",
  },
  "media-in-use": {
    title: "Camera and microphone cannot be opened.",
    text: "Another program may be using them. Close it, then try again. The chat works anyway.",
    action: "media",
  },
  "no-media": {
    title: "No camera and no microphone were found.",
    text: "Connect one, then try again. You still see and hear the other side, and the chat works.",
    action: "media",
  },
  "no-camera": {
    title: "No camera was found.",
    text: "The other side hears you but does not see you. Connect a camera, then try again.",
    action: "media",
  },
  "camera-in-use": {
    title: "The camera cannot be opened.",
    text: "Another program may be using it. The other side hears you but does not see you.",
    action: "media",
  },
  "no-microphone": {
    title: "No microphone was found.",
    text: "The other side sees you but does not hear you. Connect a microphone, then try again.",
    action: "media",
  },
  "microphone-in-use": {
    title: "The microphone cannot be opened.",
    text: "Another program may be using it. The other side sees you but does not hear you.",
    action: "media",
  },
  "media-ended": {
    title: "Camera or microphone went away.",
    text: "It was unplugged, or the browser took it back.",
    action: "media",
  },
  "no-such-inbox": {
    title: "The other side is not there yet.",
    text: "Nobody has an inbox under that id on this server. Ask them to open their page; this page goes on trying.",
  },
  "inbox-full": {
    title: "The other side's inbox is full.",
    text: "It does not look into it just now. This page goes on trying.",
  },
  "server-full": {
    title: "The server is full.",
    text: "It holds as many inboxes as it may. This page goes on trying.",
  },
  "rate-limited": {
    title: "The server asks for patience.",
    text: "It got many requests from here. This page waits as long as it was asked to.",
  },
  "draining": {
    title: "The server is being restarted.",
    text: "A call that is going on goes on. This page tries again in a moment.",
  },
  "server-away": {
    title: "The server does not answer.",
    text: "Is it running, and are you online? A call that is going on goes on. This page keeps trying.",
  },
  "unauthorized": {
    title: "That id is taken.",
    text: "Somebody else has opened an inbox under it. Choose another id and start again.",
    weight: "serious",
  },
  "replaced": {
    title: "Another tab took over.",
    text: "The same id is now open in another tab or window, so this one has stopped.",
    weight: "serious",
    action: "resume",
  },
  "closed": {
    title: "Your inbox was closed.",
    text: "That was done from another tab or program with the same id.",
    weight: "serious",
    action: "resume",
  },
  "refused": {
    title: "The server refuses this page's requests.",
    text: "That should not happen. Reload the page; if it stays, look into the server's log.",
    weight: "serious",
    action: "resume",
  },
  "slow": {
    title: "Finding a path takes long.",
    text: "On the same network it takes a second. Across networks both sides usually need a STUN server, and some need a TURN relay: name one under ICE servers, then call again.",
    action: "advanced",
  },
  "no-path": {
    title: "The two of you could not be connected.",
    text: "You are probably on different networks. Both sides usually need a STUN server for that, and some need a TURN relay: name one under ICE servers, then call again.",
    weight: "serious",
    action: "advanced",
  },
  "own-link": {
    title: "This is your own link.",
    text: "Give it to somebody else, or open it in another window to talk to yourself.",
    weight: "serious",
  },
  "broken-link": {
    title: "This link is broken.",
    text: "No peer can have the id that it names. Ask for the link again.",
    weight: "serious",
  },
  "screen-failed": {
    title: "The screen cannot be shared.",
    text: "The browser, or the system that it runs on, does not allow it. Look into the settings for screen recording.",
  },
  "files-insecure": {
    title: "Files cannot be sent here.",
    text: "Start the server with `--tls self-signed` and open its https address.",
    weight: "serious",
  },
  "too-many": {
    title: "That is too many at once.",
    text: "This page takes 1000 files. Remove some, or pack them into one.",
  },
  "folder": {
    title: "A folder cannot be sent.",
    text: "Pack it into one file, or choose the files in it.",
  },
  "silent": {
    title: "The browser holds the sound back.",
    text: "It plays sound only after you have touched the page.",
    action: "sound",
  },
};

/** What the buttons of problems say. */
export const actions = {
  media: "Try again",
  advanced: "ICE servers",
  resume: "Use this tab",
  sound: "Play sound",
};
