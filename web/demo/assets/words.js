/** What the pages say, all in one place: what is going on, and what is wrong and what helps. */

import { isolate } from "./names.js";

const secure = globalThis.location?.protocol === "https:";

/**
 * @typedef {"setup" | "media" | "opening" | "waiting" | "ringing" | "calling" | "connecting"
 *   | "connected" | "reconnecting" | "ended" | "stopped" | "elsewhere" | "unable"} State
 */

/**
 * What the call page says at its top.
 * @param {State} state
 * @param {string} name the other side's, or empty while it is unknown
 * @param {string} [title] of the panel: how it ended, or what is wrong with the call that is made
 * @returns {string}
 */
export function stateWords(state, name, title = "") {
  const withThem = name === "" ? "" : ` with ${isolate(name)}`;
  switch (state) {
    case "setup": return "Not started";
    case "media": return "Asking for camera and microphone";
    case "opening": return "Opening your inbox";
    case "waiting": return "Waiting for a call";
    case "ringing": return `${name === "" ? "Somebody" : isolate(name)} calls you`;
    case "calling": return title || (name === "" ? "Calling" : `Calling ${isolate(name)}`);
    case "connecting": return `Connecting${withThem}`;
    case "connected": return `Connected${withThem}`;
    case "reconnecting": return `Reconnecting${withThem}`;
    case "ended": return title;
    case "stopped": return "Stopped";
    case "unable": return "Not possible here";
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

/** How it ended, in words. @type {Record<import("./failures.js").Ending, string>} */
export const endings = {
  "hung-up": "You hung up.",
  "bye": "The other side hung up.",
  "left": "The other side left.",
  "lost": "The connection was lost and did not come back.",
  "cancelled": "You hung up before the two of you were connected.",
  "busy": "The other side is busy with another call. A call is for two. Try again in a while.",
  "declined": "The other side does not want to be called now.",
  "no-answer": "The page on the other side is open, but nobody answered.",
  "gave-up": "The page behind the link was not open all the time. Ask for a new link.",
  "not-sent": "The server took no message for the other side.",
  "refused": "You declined the call.",
  "missed": "Somebody called, and stopped calling before you answered.",
  "unanswered": "Somebody called, and you did not answer.",
  "no-path": "No path was found between the two of you.",
  "dropped": "The other side hung up before the two of you were connected.",
  "no-candidates": "This browser has no network address for the connection.",
  "no-candidates-there": "The browser on the other side offers no network address: a policy, a setting or an extension probably restricts WebRTC there. Another browser may work.",
  "no-webrtc": "This browser makes no connections: a policy, a setting or an extension has switched WebRTC off.",
  "setup-failed": "This page could not set up the connection. Load it again.",
  "peer-failed": "The page on the other side could not set up the connection. Ask them to load it again.",
  "peer-no-webrtc": "The browser on the other side makes no connections: a policy, a setting or an extension has switched WebRTC off there. Another browser may work.",
};

/** What a call page says above that. Only what was a call has ended. @type {Partial<Record<import("./failures.js").Ending, string>>} */
const endingTitles = {
  "cancelled": "You stopped calling",
  "busy": "They are busy",
  "declined": "Your call was declined",
  "no-answer": "Nobody answered",
  "gave-up": "Nobody was there",
  "not-sent": "Your call did not arrive",
  "refused": "You declined the call",
  "missed": "You missed a call",
  "unanswered": "You missed a call",
  "no-path": "You could not be connected",
  "dropped": "You were not connected",
  "no-candidates": "You could not be connected",
  "no-candidates-there": "You could not be connected",
  "no-webrtc": "You could not be connected",
  "setup-failed": "You could not be connected",
  "peer-failed": "You could not be connected",
  "peer-no-webrtc": "You could not be connected",
};

/** What an answer does. @param {import("./media.js").Wish} wish what this side takes part with */
export function answerWords(wish) {
  switch (wish) {
    case "both": return "When you answer, the caller sees and hears you.";
    case "microphone": return "When you answer, the caller hears you but does not see you.";
    case "none": return "When you answer, you can chat, and see and hear the caller, who neither sees nor hears you.";
  }
}

/** What the button says that calls again. @param {import("./failures.js").Ending} why */
export function againWords(why) {
  if (["missed", "unanswered", "refused"].includes(why)) return "Call back";
  return why in endingTitles ? "Try again" : "Call again";
}

/** @param {import("./failures.js").Ending} why */
export const endingTitle = (why) => endingTitles[why] ?? "The call has ended";

/**
 * What is wrong. In the text, backticks enclose what one types; action names a button that helps.
 * @typedef {object} Problem
 * @property {string} title
 * @property {string} text
 * @property {"serious"} [weight]
 * @property {"media" | "advanced" | "resume" | "retry" | "sound" | "reload" | "https"} [action]
 */

/** @type {Record<string, Problem>} */
export const problems = {
  "insecure": {
    title: "This page gets no camera and no microphone here.",
    text: "Browsers give them only to pages that came over https. Open this page over https. If that does not work, ask the person who runs this server for its https address. The chat works here too.",
    action: "https",
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
    title: "Nobody is there yet.",
    text: "The page behind the link is not open. Ask them to open it: this page notices by itself.",
  },
  "inbox-full": {
    title: "The other side's inbox is full.",
    text: "Their page does not read its messages just now. This page keeps trying.",
  },
  "server-full": {
    title: "The server is full.",
    text: "It holds as many inboxes as it may. This page goes on trying.",
  },
  "rate-limited": {
    title: "The server limits how often it is asked.",
    text: "It got many requests, or wrong passwords, from your network. This page waits as long as the server asks, and then goes on by itself.",
  },
  "draining": {
    title: "The server is being restarted.",
    text: "What is connected stays connected. This page tries again in a moment.",
  },
  "server-away": {
    title: "The server does not answer.",
    text: `Is it running, and are you online? What is connected stays connected. This page keeps trying.${secure ? " If the server was restarted, reload this page: the browser may have to ask you about a new certificate." : ""}`,
  },
  "intruder": {
    title: "Something else answers in place of the server.",
    text: "It can be the login page of a network, or a proxy. Open the start page of this site in another tab to see. This page keeps trying.",
  },
  "not-inbox": {
    title: "Something else answers in place of the server.",
    text: "It can be the login page of a network, or a proxy. Open the start page of this site in another tab to see, then try again.",
    weight: "serious",
    action: "retry",
  },
  "proxy-auth": {
    title: "A proxy asked for its own credentials.",
    text: "It stands between this page and the server. Log in there, then try again.",
    weight: "serious",
    action: "retry",
  },
  "unauthorized": {
    title: "That link is taken.",
    text: "Somebody else has a link with the same ending. Choose another ending, or a random one, and start again.",
    weight: "serious",
  },
  "replaced": {
    title: "Another tab took over.",
    text: "The same link is now open in another tab or window, so this one has stopped.",
    weight: "serious",
    action: "resume",
  },
  "closed": {
    title: "Your inbox was closed.",
    text: "Another tab or program with the same link did that.",
    weight: "serious",
    action: "resume",
  },
  "refused": {
    title: "The server refuses this page's requests.",
    text: "Load the page again. If that does not help, tell the person who runs this server: its log says why.",
    weight: "serious",
    action: "retry",
  },
  "slow": {
    title: "Finding a path takes long.",
    text: "It usually takes a second or two. A firewall on one side may be in the way: another network, such as that of a phone, may let the call through.",
    action: "advanced",
  },
  "no-path": {
    title: "The two of you could not be connected.",
    text: "A firewall between you lets nothing through. Try again from another network, such as that of a phone.",
    weight: "serious",
    action: "advanced",
  },
  "udp-blocked": {
    title: "Your network lets no calls through.",
    text: "It blocks UDP, which calls use. Try again from another network, such as that of a phone.",
    weight: "serious",
    action: "advanced",
  },
  "relay-unreachable": {
    title: "Your network is too strict for calls.",
    text: "This page could not reach the relay, which carries calls that find no direct path. Try again from another network, or ask the person who runs this server whether its relay can be reached from yours.",
    weight: "serious",
    action: "advanced",
  },
  "relay-refused": {
    title: "The relay refused this call.",
    text: "Load the page again. If that does not help, tell the person who runs this server: the relay has another secret, or a clock is wrong.",
    weight: "serious",
    action: "reload",
  },
  "relay-busy": {
    title: "The relay is busy.",
    text: "It carries as many calls as it may. Try again in a while.",
    weight: "serious",
  },
  "relay-failed": {
    title: "The relay could not connect the two of you.",
    text: "Both of you reached it, and nothing came through. Try again. If that does not help, tell the person who runs this server.",
    weight: "serious",
  },
  "no-relay": {
    title: "The two of you could not be connected.",
    text: "There is no direct path between your networks, and this server has no relay for calls. Ask the person who runs it to switch the relay on, or name a TURN server of yours.",
    weight: "serious",
    action: "advanced",
  },
  "peer-no-relay": {
    title: "The network on the other side lets no calls through.",
    text: "You can reach the relay, and they cannot. Ask them to try another network, such as that of a phone.",
    weight: "serious",
  },
  "dns": {
    title: "The relay was not found.",
    text: "Your network does not know its name. Try again from another network, or tell the person who runs this server.",
    weight: "serious",
    action: "advanced",
  },
  "no-webrtc": {
    title: "This browser makes no connections.",
    text: "A policy, a setting or an extension has switched WebRTC off. Allow WebRTC for this page and load it again, or open it in another browser.",
    weight: "serious",
    action: "reload",
  },
  "no-candidates": {
    title: "This browser restricts WebRTC.",
    text: "It has no network address for the connection: a policy, a setting or an extension hides all of them. A STUN server cannot help. Lift the restriction for this page, or use another browser.",
    weight: "serious",
  },
  "own-link": {
    title: "This is your own link.",
    text: "Give it to somebody else, or open it in another window to talk to yourself.",
    weight: "serious",
  },
  "broken-link": {
    title: "This link is broken.",
    text: "It leads to nobody. Ask for the link again.",
    weight: "serious",
  },
  "screen-failed": {
    title: "The screen cannot be shared.",
    text: "The browser, or the system that it runs on, does not allow it. Look into the settings for screen recording.",
  },
  "files-insecure": {
    title: "Files cannot be sent here.",
    text: "Open this page over https. If that does not work, ask the person who runs this server for its https address.",
    weight: "serious",
    action: "https",
  },
  "too-many": {
    title: "That is too many at once.",
    text: "This page lists 5000 files, and sends a folder only as a whole. Clear what is finished, or pack the files into one.",
  },
  "no-directory": {
    title: "This page cannot write into a folder here.",
    text: "The browser does not allow it. Receive the files one by one or as one archive instead.",
  },
  "too-deep": {
    title: "That folder cannot be sent.",
    text: "It has more than 32 folders within folders. Pack it into one file.",
  },
  "folder-unreadable": {
    title: "A folder cannot be read.",
    text: "Something in it is not open to this browser. Nothing of it was offered. Check who may read it, or pack it into one file.",
  },
  "silent-ring": {
    title: "Calls ring without a sound.",
    text: "The browser plays sound only after you have touched the page.",
    action: "sound",
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
  advanced: "Use other servers",
  resume: "Use this tab",
  retry: "Try again",
  sound: "Play sound",
  reload: "Load again",
  https: "Open over https",
};
