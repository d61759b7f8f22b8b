/** The texts of the call page, and the problems that both pages show. */

import { isolate } from "./names.js";

const secure = globalThis.location?.protocol === "https:";

/**
 * @typedef {"setup" | "media" | "opening" | "waiting" | "ringing" | "calling" | "connecting"
 *   | "connected" | "reconnecting" | "ended" | "stopped" | "elsewhere" | "unable"} State
 */

/**
 * Returns the status at the top of the call page.
 * @param {State} state
 * @param {string} name the other person's name; empty while it is unknown
 * @param {string} [title] the panel's title: how the call ended, or the problem with the outgoing call
 * @returns {string}
 */
export function stateWords(state, name, title = "") {
  const toThem = name === "" ? "" : ` to ${isolate(name)}`;
  switch (state) {
    case "setup": return "Not started";
    case "media": return "Asking for your camera and microphone";
    case "opening": return "Getting ready";
    case "waiting": return "Waiting for someone to open your link";
    case "ringing": return `${name === "" ? "Someone" : isolate(name)} is calling you`;
    case "calling": return title || (name === "" ? "Calling" : `Calling ${isolate(name)}`);
    case "connecting": return `Connecting${toThem}`;
    case "connected": return `Connected${toThem}`;
    case "reconnecting": return `Reconnecting${toThem}`;
    case "ended": return title;
    case "stopped": return "Stopped";
    case "unable": return "Calls do not work in this browser";
    case "elsewhere": return "Open in another tab";
  }
}

/** The form before a call. @type {Record<"wait" | "call" | "group", {title: string, text: string, start: string, name: string}>} */
export const setupWords = {
  wait: {
    title: "Start a call",
    text: "You get a link. Send it to one person: this page rings when they open it. A call is for two, and travels encrypted from your browser to theirs.",
    start: "Get a link",
    name: "The other person sees it once you are connected. Only this browser remembers it.",
  },
  call: {
    title: "Call the person who gave you this link",
    text: "Their page rings. When they answer, you see and hear each other. A call is for two, and travels encrypted from your browser to theirs.",
    start: "Call",
    name: "The other person sees it once you are connected. Only this browser remembers it.",
  },
  group: {
    title: "Join the group call",
    text: "Up to six people who open the same link see and hear each other. Everything travels encrypted from each browser to the others.",
    start: "Join",
    name: "The others see it once you are connected. Only this browser remembers it.",
  },
};

/** @param {string} name the other person's name; empty while it is unknown */
export const awayWords = (name) => `Waiting for ${name === "" ? "the other person" : isolate(name)} to come back`;

/**
 * Lines in the log, by name. {They} and {them} stand for the other person.
 * @type {Record<string, string>}
 */
const steps = {
  "inbox-open": "This page is connected to the server.",
  "inbox-reset": "The server restarted and may have lost a message. If nothing happens, try again.",
  "called": "{They} is calling you.",
  "rings-there": "It is ringing on their side.",
  "accepted": "They answered.",
  "connecting": "Connecting the two of you…",
  "interrupted": "The connection was interrupted. Restoring it…",
  "away": "{They} left the page. Waiting for {them} to come back…",
  "returned": "{They} is back.",
  "coming-back": "This page was reloaded. Rejoining the call…",
  "server-back": "The server answers again.",
  "screen": "You are sharing your screen.",
  "no-screen": "You stopped sharing your screen.",
  "their-screen": "{They} is sharing a screen.",
};

/**
 * Returns the text of a line in the log.
 * @param {string} step
 * @param {string} name the other person's name; empty while it is unknown
 * @returns {string}
 */
export function stepWords(step, name) {
  const [they, them] = name === "" ? [step === "called" ? "Someone" : "The other person", "them"] : [isolate(name), isolate(name)];
  return steps[step].replace("{They}", they).replace("{them}", them);
}

/** Why a call ended. @type {Record<import("./failures.js").Ending, string>} */
export const endings = {
  "hung-up": "You hung up.",
  "bye": "The other person hung up.",
  "left": "The other person left and did not come back.",
  "lost": "The connection was lost and could not be restored.",
  "cancelled": "You stopped calling before the two of you were connected.",
  "busy": "They are already in a call, and a call is for two. Try again later.",
  "declined": "They cannot take your call now. Try again later.",
  "no-answer": "Their page rang, but nobody answered. Try again later.",
  "gave-up": "Their page stayed closed, so nobody saw your call. Ask them for a new link.",
  "not-sent": "The server did not pass your call on. Try again in a minute.",
  "refused": "You declined the call.",
  "missed": "Someone called you, and hung up before you answered.",
  "unanswered": "Someone called you, and you did not answer.",
  "no-path": "Your networks did not let the two of you connect.",
  "dropped": "They hung up before the two of you were connected.",
  "no-candidates": "This browser blocks calls. Try another browser.",
  "no-candidates-there": "Their browser blocks calls. A company policy, a setting or an extension can do that. Ask them to try another browser.",
  "no-webrtc": "This browser cannot make calls. Try another browser.",
  "setup-failed": "This page could not start the call. Reload it, then try again.",
  "peer-failed": "Their page could not start the call. Ask them to reload it, then try again.",
  "peer-no-webrtc": "Their browser cannot make calls. A company policy, a setting or an extension has switched them off. Ask them to try another browser.",
};

/** Titles of endings that were not a call between the two. @type {Partial<Record<import("./failures.js").Ending, string>>} */
const endingTitles = {
  "cancelled": "You stopped calling",
  "busy": "They are in another call",
  "declined": "Your call was declined",
  "no-answer": "Nobody answered",
  "gave-up": "Nobody was there",
  "not-sent": "Your call did not get through",
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

/** Tells whether the caller will see and hear this person. @param {import("./media.js").Wish} wish what this side takes part with */
export function answerWords(wish) {
  switch (wish) {
    case "both": return "When you answer, the caller sees and hears you.";
    case "microphone": return "When you answer, the caller hears you. Your camera stays off.";
    case "none": return "When you answer, you see and hear the caller and can chat. Your camera and microphone stay off.";
  }
}

/** The label of the button that calls again. @param {import("./failures.js").Ending} why */
export function againWords(why) {
  if (["missed", "unanswered", "refused"].includes(why)) return "Call back";
  return why in endingTitles ? "Try again" : "Call again";
}

/**
 * Returns why a call ended.
 * @param {import("./failures.js").Ending} why
 * @param {string} [name] the other person's name; empty while it is unknown
 */
export const endingWords = (why, name = "") => (name === "" ? endings[why] : endings[why].replace("The other person", isolate(name)));

/** @param {import("./failures.js").Ending} why */
export const endingTitle = (why) => endingTitles[why] ?? "The call has ended";

/**
 * @typedef {object} Problem
 * @property {string} title what happened
 * @property {string} text what the reader can do now; backticks enclose what one types
 * @property {string} [details] the cause in an expert's terms
 * @property {"serious"} [weight]
 * @property {"media" | "advanced" | "resume" | "retry" | "sound" | "reload" | "https"} [action] a button that helps
 */

/** @type {Record<string, Problem>} */
export const problems = {
  "insecure": {
    title: "Your camera and microphone do not work at this address.",
    text: "Browsers allow them only at addresses that begin with https. Open this page over https. If that fails, ask the person who runs this site for its https address. The chat works here too.",
    action: "https",
  },
  "media-denied": {
    title: "This page is not allowed to use your camera and microphone.",
    text: "Allow them in the browser, next to the address of this page, then try again. Until then you can chat.",
    action: "media",
  },
  "media-in-use": {
    title: "Your camera and microphone do not start.",
    text: "Another program may be using them. Close it, then try again. Until then you can chat.",
    action: "media",
  },
  "no-media": {
    title: "No camera and no microphone were found.",
    text: "Connect one, then try again. You can still see and hear the other person, and chat.",
    action: "media",
  },
  "no-camera": {
    title: "No camera was found.",
    text: "The other person hears you but does not see you. Connect a camera, then try again.",
    action: "media",
  },
  "camera-in-use": {
    title: "Your camera does not start.",
    text: "The other person hears you but does not see you. Another program may be using the camera. Close it, then try again.",
    action: "media",
  },
  "no-microphone": {
    title: "No microphone was found.",
    text: "The other person sees you but does not hear you. Connect a microphone, then try again.",
    action: "media",
  },
  "microphone-in-use": {
    title: "Your microphone does not start.",
    text: "The other person sees you but does not hear you. Another program may be using the microphone. Close it, then try again.",
    action: "media",
  },
  "media-ended": {
    title: "Your camera or microphone stopped.",
    text: "It was unplugged, or the browser switched it off. Connect it, then try again.",
    action: "media",
  },
  "no-such-inbox": {
    title: "Nobody is there yet.",
    text: "The page that made this link is not open. Ask the other person to open it. You will be connected as soon as they do.",
  },
  "inbox-full": {
    title: "Their page is not responding.",
    text: "It is open but takes no messages just now. This page keeps trying.",
    details: "The inbox of the other peer is full.",
  },
  "server-full": {
    title: "The server is full.",
    text: "Too many people use it at the moment. This page keeps trying.",
    details: "The server holds as many inboxes as its limit allows.",
  },
  "rate-limited": {
    title: "The server asks this page to slow down.",
    text: "Too many requests came from your network. This page waits, and continues by itself in a moment.",
    details: "The rate limit for requests or for wrong passwords was reached.",
  },
  "draining": {
    title: "The server is restarting.",
    text: "A call that is connected continues. This page tries again in a moment.",
  },
  "server-away": {
    title: "The server does not answer.",
    text: `Check that you are online. A call that is connected continues, and this page keeps trying.${secure ? " If the server was restarted, reload this page: the browser may have to ask you about a new certificate." : ""}`,
  },
  "intruder": {
    title: "Something else answers in place of the server.",
    text: "It may be the login page of your network. Open the start page of this site in another tab to see. This page keeps trying.",
    details: "A proxy or a captive portal answers the requests.",
  },
  "not-inbox": {
    title: "Something else answers in place of the server.",
    text: "It may be the login page of your network. Open the start page of this site in another tab to see, then try again.",
    details: "A proxy or a captive portal answers the requests.",
    weight: "serious",
    action: "retry",
  },
  "unreachable": {
    title: "The server does not answer.",
    text: "Check that you are online, then try again. If that does not help, reload this page.",
    weight: "serious",
    action: "retry",
  },
  "proxy-auth": {
    title: "Your network asks for a login first.",
    text: "A proxy stands between this page and the server. Log in to it, then try again.",
    weight: "serious",
    action: "retry",
  },
  "unauthorized": {
    title: "That link is taken.",
    text: "Someone else has a link with the same ending. Choose another ending, or leave it empty for a random one, and start again.",
    weight: "serious",
  },
  "replaced": {
    title: "Another tab took over.",
    text: "The same link is now open in another tab or window, so this one has stopped.",
    weight: "serious",
    action: "resume",
  },
  "closed": {
    title: "Your link was closed.",
    text: "Another tab or program that uses the same link closed it.",
    weight: "serious",
    action: "resume",
  },
  "refused": {
    title: "The server refuses this page's requests.",
    text: "Reload this page. If that does not help, tell the person who runs this site: the log of the server says why.",
    weight: "serious",
    action: "retry",
  },
  "slow": {
    title: "Connecting takes longer than usual.",
    text: "It usually takes a second or two. A firewall may be in the way. If nothing happens, try another network, such as your phone's.",
    action: "advanced",
  },
  "no-path": {
    title: "The two of you could not be connected.",
    text: "A firewall between you lets nothing through. Try again from another network, such as your phone's.",
    weight: "serious",
    action: "advanced",
  },
  "udp-blocked": {
    title: "Your network blocks calls.",
    text: "Try again from another network, such as your phone's.",
    details: "The network blocks UDP.",
    weight: "serious",
    action: "advanced",
  },
  "relay-unreachable": {
    title: "Your network is too strict for calls.",
    text: "Try again from another network, such as your phone's. Or ask the person who runs this site whether its relay can be reached from yours.",
    details: "The relay (TURN server), which carries calls that find no direct path, did not answer.",
    weight: "serious",
    action: "advanced",
  },
  "relay-refused": {
    title: "The relay refused this call.",
    text: "Reload this page. If that does not help, tell the person who runs this site.",
    details: "The TURN server refused the credentials: its secret differs from the server's, or a clock is wrong.",
    weight: "serious",
    action: "reload",
  },
  "relay-busy": {
    title: "The relay is busy.",
    text: "It carries as many calls as it can. Try again later.",
    weight: "serious",
  },
  "relay-failed": {
    title: "The relay could not connect the two of you.",
    text: "Try again. If that does not help, tell the person who runs this site.",
    details: "Both sides reached the TURN server, but no packet came through.",
    weight: "serious",
  },
  "no-relay": {
    title: "Your networks do not connect directly.",
    text: "This site has no relay, which could carry your call instead. Try another network, or ask the person who runs this site to switch a relay on.",
    details: "The server names no TURN server. You can enter another one under Advanced.",
    weight: "serious",
    action: "advanced",
  },
  "peer-no-relay": {
    title: "Their network blocks calls.",
    text: "Ask them to try another network, such as their phone's.",
    details: "You can reach the relay (TURN server), and they cannot.",
    weight: "serious",
  },
  "dns": {
    title: "The relay was not found.",
    text: "Try again from another network, or tell the person who runs this site.",
    details: "The name of the TURN server does not resolve in your network.",
    weight: "serious",
    action: "advanced",
  },
  "no-webrtc": {
    title: "This browser cannot connect to other people.",
    text: "A company policy, a setting or an extension has switched that off. Allow it for this page and reload, or use another browser.",
    details: "WebRTC is switched off.",
    weight: "serious",
    action: "reload",
  },
  "no-candidates": {
    title: "This browser blocks calls.",
    text: "A company policy, a setting or an extension keeps it from connecting to other people. Allow that for this page, or use another browser.",
    details: "The browser hides all network addresses from WebRTC: there are no ICE candidates. A STUN server cannot help.",
    weight: "serious",
  },
  "own-link": {
    title: "This is your own link.",
    text: "Send it to someone else. To try it out, open it in another window and talk to yourself.",
    weight: "serious",
  },
  "broken-link": {
    title: "This link is incomplete.",
    text: "Part of it is missing or was changed. Ask for the link again.",
    weight: "serious",
  },
  "screen-failed": {
    title: "Your screen cannot be shared.",
    text: "The browser or the system does not allow it. Look for screen recording in the settings of the system.",
  },
  "files-insecure": {
    title: "Files cannot be sent from this address.",
    text: "Open this page over https. If that fails, ask the person who runs this site for its https address.",
    weight: "serious",
    action: "https",
  },
  "too-many": {
    title: "That is too many files at once.",
    text: "This page takes up to 5000 files, and sends a folder only as a whole. Clear what is finished, or pack the files into one.",
  },
  "no-directory": {
    title: "This page cannot save into a folder.",
    text: "The browser does not allow it. Receive the files one by one or as one archive instead.",
  },
  "too-deep": {
    title: "That folder cannot be sent.",
    text: "It is nested more than 32 folders deep. Pack it into one file, then send that.",
  },
  "folder-unreadable": {
    title: "That folder cannot be read.",
    text: "This browser may not open something in it, so nothing of it was offered. Check its permissions, or pack it into one file.",
  },
  "silent-ring": {
    title: "You will not hear calls ring.",
    text: "The browser plays sound only after you have clicked or tapped the page.",
    action: "sound",
  },
  "silent": {
    title: "You hear nobody yet.",
    text: "The browser plays sound only after you have clicked or tapped the page.",
    action: "sound",
  },
};

/** Labels of the buttons of problems. */
export const actions = {
  media: "Try again",
  advanced: "Advanced settings",
  resume: "Continue here",
  retry: "Try again",
  sound: "Turn sound on",
  reload: "Reload",
  https: "Open over https",
};

/** Sentences for a code that someone typed, or that this page offered, and that does not work. @type {Record<string, string>} */
export const codeFaults = {
  "not-six": "A code has six letters.",
  "no-such-code": "This code does not work. Check the letters, or ask for a new code: each one works once, for ten minutes.",
  "rate-limited": "Too many wrong codes were entered. Wait a minute and try again, or ask for the link.",
  "too-many-codes": "Your network has asked for too many codes. Send the link, or try again in a minute.",
  "expired": "The code has expired.",
  "no-server": "The server does not answer. Check your connection, then try again.",
};

/**
 * Returns what the other person does with a code.
 * @param {string} address of the page on which to enter it
 * @param {number} minutes for which it is valid
 */
export const codeHint = (address, minutes) => `It works once, within ${minutes} minutes. The other person opens ${address} and enters it there.`;
