/** The texts of the files page. */

import { isolate } from "./names.js";
import { endings, problems } from "./words.js";

/**
 * @typedef {object} Situation
 * @property {boolean} linked whether a link to someone opened this page
 * @property {import("./failures.js").Ending} ending why the connection ended, if it did
 * @property {string} [cause] why it failed, as the SDK names it
 * @property {string} name the other person's name; empty while it is unknown
 * @property {string} problem the problem while calling, as a name in words.js; empty without a problem
 * @property {boolean} gone whether that problem has lasted for a while
 * @property {string} short how the two are connected; empty while they are not
 * @property {boolean} [away] whether the other person has left the page
 * @property {import("./room-view.js").Room} [room] the room that this page is in
 *
 * @param {import("./files-view.js").State} state
 * @param {Situation} situation
 * @returns {{status: string, title: string, text: string, hint?: string}}
 */
export function meetWords(state, { linked, ending, name, problem, gone, short, away = false, room }) {
  const reload = "Either of you can reload the page: transfers continue where they stopped.";
  const [who, them] = name === "" ? ["The other person", "the other person"] : [isolate(name), isolate(name)];
  switch (state) {
    case "opening": return { status: "Getting ready", title: "Send files", text: "One moment: your link is on its way." };
    case "insecure": return {
      status: "Not possible at this address", title: "This page needs an https address",
      text: "Browsers let a page save and check files only if its address begins with https.",
    };
    case "unable": return {
      status: "Not possible in this browser", title: "This browser cannot send files",
      text: "Files travel directly from browser to browser, and this browser does not allow that.",
    };
    case "elsewhere": return {
      status: "Open in another tab", title: "These transfers are open in another tab",
      text: "Only one tab can run them. Continue in the other tab, or move them here: then the other tab stops.",
    };
    case "waiting": return {
      status: "Waiting for someone to open your link", title: "Send files",
      text: "Files of any size travel encrypted from your browser to another one, and back. No server keeps a copy.",
    };
    case "calling": {
      if (problem === "no-such-inbox" && gone) return {
        status: "Nobody is there", title: "Nobody is there",
        text: "The page that made this link has not been open since you came. If it was closed, the link does not work any more. Ask for a new link, or send them yours.",
      };
      if (problem === "no-such-inbox") return { status: "Waiting for them to open their page", title: "Nobody is there yet", text: problems[problem].text };
      if (problem !== "") return { status: "Trying again", title: problems[problem].title, text: problems[problem].text };
      return { status: "Connecting", title: "Connecting", text: "Looking for the page that made this link…" };
    }
    case "ringing":
    case "connecting": return { status: `Connecting${name && ` to ${them}`}`, title: `Connecting${name && ` to ${them}`}`, text: `${who} is there. Connecting the two of you…` };
    case "connected": return {
      status: `${short || "Connected"}${name && ` · ${them}`}`, title: `Connected${name && ` to ${them}`}`,
      text: "Now either of you can choose files.", hint: reload,
    };
    case "reconnecting": return {
      status: away ? `Waiting for ${them} to come back` : "Reconnecting", title: away ? `Waiting for ${them} to come back` : "Reconnecting",
      text: `${away ? `${who} left the page or went offline.` : "The connection was interrupted."} Transfers continue by themselves once you are connected again.`, hint: reload,
    };
    case "ended": {
      const { title, text } = endingWords(ending, name);
      return { status: title, title, text: linked ? text : `${text} Your link still works.` };
    }
    case "room": return room && room.people.length > 0 ? {
      status: `In a room with ${room.people.length} ${room.people.length === 1 ? "other" : "others"}`, title: "In a room",
      text: "Everyone here can choose files for everyone.",
    } : {
      status: "Nobody else is in the room yet", title: "In a room",
      text: "Nobody else is here yet. You can choose files now: everyone who enters is asked for them.",
    };
    case "full": return {
      status: "The room is full", title: "The room is full",
      text: `At most ${MAX_PEOPLE} people can be in a room. Try again when someone has left.`,
    };
    case "outside": return {
      status: "You left the room", title: "You left the room",
      text: "Transfers that were under way continue if you enter again.",
    };
    case "stopped": return { status: "Stopped", title: "This page has stopped", text: "It receives nothing any more. The message above says why." };
  }
}

/** Endings that the files page words differently from the call page. @type {Partial<Record<import("./failures.js").Ending, string>>} */
const ends = {
  "hung-up": "You disconnected.",
  "bye": "The other person disconnected.",
  "cancelled": "You stopped before the two of you were connected.",
  "busy": "They are connected to someone else. Try again later.",
  "declined": "Their page did not accept the connection. Ask them to reload it, then try again.",
  "dropped": "They left before the two of you were connected.",
  "no-answer": "Their page is open but does not answer. Ask them to reload it.",
};

/**
 * Returns how a connection ended.
 * @param {import("./failures.js").Ending} why
 * @param {string} [name] the other person's name; empty while it is unknown
 * @returns {{title: string, text: string}}
 */
export function endingWords(why, name = "") {
  const title = ["hung-up", "bye", "left", "lost"].includes(why) ? "Disconnected"
    : why === "gave-up" ? "Nobody was there" : why === "busy" ? "They are connected to someone else" : "You could not be connected";
  const text = ends[why] ?? endings[why];
  return { title, text: name === "" ? text : text.replace("The other person", isolate(name)) };
}

/** Maximum number of people in a room. Each is connected to each: ten have 45 connections. */
export const MAX_PEOPLE = 10;

/**
 * Returns who is asked for the files that are chosen next, in a room.
 * @param {import("./shares.js").Aim | undefined} to the only person who gets them
 */
export function aimWords(to) {
  if (to === undefined) return "Everyone is asked before anything is sent, also those who enter later.";
  return `Only ${to.name === "" ? "that person" : isolate(to.name)} is asked, before anything is sent.`;
}

/** Why a transfer was cancelled. @type {Record<string, string>} */
const why = {
  "ours": "You cancelled it.",
  "theirs": "The other person cancelled it.",
  "declined": "The other person declined it.",
  "unwanted": "You declined it.",
  "gone": "You left before all of it was sent.",
};

const back = "Interrupted. It continues when you are connected again.";
const turn = "Waiting for its turn.";

/**
 * Returns the text of a row under "From you" for a file that is offered to the room.
 * @param {import("./shares.js").Share} share
 */
export function shareWords(share) {
  const { people, to, choices, state, why: reason, size, moved, rate, files } = share;
  const only = to === undefined ? "" : `For ${to.name === "" ? "one person" : isolate(to.name)} only. `;
  if (state === "unreadable") return `${only}This page cannot read it any more: the page was reloaded, or the ${files ? "folder" : "file"} was changed or moved. Choose it again, and it continues.`;
  if (people.length === 0 && reason !== undefined) return why[reason];
  if (to !== undefined) return only + (people.length === 0 ? "They left. They are asked if they come back." : recipientWords(people[0]));
  if (people.length === 0) return "Nobody else is here yet. Everyone who enters is asked for it.";
  const count = (/** @type {(recipient: import("./shares.js").Recipient) => boolean} */ is) => people.filter(is).length;
  const done = count(({ item }) => item.state === "done");
  const declined = count(({ item }) => item.why === "declined");
  const left = count(isLeft);
  const waits = count(({ item, exchange }) => item.state === "offered" && exchange.here && !exchange.elsewhere);
  const failed = count(({ item }) => item.state === "damaged" || (item.state === "cancelled" && !["declined", "ours"].includes(item.why)));
  return [
    `${done} of ${people.length} received it`,
    ...(waits > 0 ? [waits === people.length ? "nobody has answered yet" : `${waits} ${waits === 1 ? "has" : "have"} not answered yet`] : []),
    ...(declined > 0 ? [`${declined} declined`] : []),
    ...(failed > 0 ? [`${failed} could not receive it`] : []),
    ...(left > 0 ? [people.some(({ exchange }) => exchange.weLeft) ? "it continues if you enter again" : `${left} left`] : []),
    ...(reason === undefined ? [] : ["the rest was cancelled"]),
    ...(state === "going" && moved > 0 ? [`${percentWords(moved, size)} of ${sizeWords(size)}`] : []),
    ...(state === "going" && rate.now > 0 ? [`${sizeWords(rate.now)}/s`, timeWords(rate.left)] : []),
    ...(state === "done" && reason === undefined && choices.length > 0 ? ["still offered to anyone who enters"] : []),
  ].join(" · ");
}

/** @param {import("./shares.js").Recipient} recipient @returns {boolean} whether the person left before the transfer ended */
const isLeft = ({ item, exchange }) => !exchange.here && item.state !== "done" && item.state !== "cancelled";

/**
 * Returns how far one person of a room is.
 * @param {import("./shares.js").Recipient} recipient
 */
export function recipientWords(recipient) {
  const { item, exchange } = recipient;
  if (isLeft(recipient)) return exchange.weLeft ? "You left before it arrived. It continues if you enter again." : "Left before it arrived. It continues if they come back.";
  switch (item.state) {
    case "offered": return exchange.elsewhere ? "Is on the call page, which takes no files." : exchange.connected ? "Has not answered yet." : "Is asked as soon as the two of you are connected.";
    case "going": return item.moved > 0 && exchange.connected ? `${percentWords(item.moved, item.size)}` : outgoingWords(item, exchange.connected);
    case "done": return `${some(item)}Received and checked.`;
    case "cancelled": return item.why === "declined" ? "Declined it." : item.why === "theirs" ? "Cancelled it." : outgoingWords(item, exchange.connected);
    default: return outgoingWords(item, exchange.connected);
  }
}

/**
 * Returns the text of a row under "From you".
 * @param {any} item a file or a folder that is sent
 * @param {boolean} connected
 */
export function outgoingWords(item, connected) {
  switch (item.state) {
    case "offered": return connected ? "Waiting for them to accept it." : "They will be asked as soon as you are connected.";
    case "going": return !connected ? back : item.moved === 0 ? turn : item.wanted ? "sending…" : "checking what was sent before…";
    case "checking": return connected ? "Sent. Their page is checking it." : back;
    case "done": return `${some(item)}Sent. Their page has received and checked it.`;
    case "cancelled": return why[item.why ?? ""] ?? (item.why === "full"
      ? "Their list is full. Ask them to clear what is finished, then send it again."
      : "There is not enough room on their disk.");
    case "damaged": return "It arrived damaged. They can ask for it again.";
    case "unreadable": return `This page cannot read it any more: the page was reloaded, or the ${item.files ? "folder" : "file"} was changed or moved. Choose it again, and it continues.`;
  }
}

/**
 * Returns the text of a row under "For you".
 * @param {any} item a file or a folder that is received
 * @param {boolean} connected
 */
export function incomingWords(item, connected) {
  if (item.exchange?.here === false && item.exchange.peer !== "" && ["offered", "going", "unreadable"].includes(item.state)) {
    if (item.exchange.weLeft) return "You left the room. You can receive it if you enter again.";
    return `${item.exchange.name === "" ? "The sender" : isolate(item.exchange.name)} left. You can receive it if they come back.`;
  }
  const absent = `They have to choose the ${item.files ? "folder" : "file"} again. Then it continues.`;
  switch (item.state) {
    case "offered":
      if (item.listed === false) return `${item.members.length} of ${item.files} files are listed so far.`;
      if (!item.readable) return absent;
      if (!connected) return "You can receive it when you are connected again.";
      return item.files ? `Do you want it? It arrives as one archive, ${item.name}.zip.` : "Do you want it?";
    case "going": return !connected ? back : !item.readable ? absent : item.moved === 0 ? turn : "receiving…";
    case "checking": return "Checking that it arrived undamaged…";
    case "done": return some(item) + savingWords(item);
    case "cancelled": return why[item.why ?? ""] ?? (item.why === "full"
      ? "Your list is full. Clear what is finished, then ask for it again."
      : "There is not enough room for it on this device.");
    case "damaged": return "It arrived damaged and was not saved. Receive it again.";
    case "unreadable": return absent;
  }
}

/** @param {any} item @returns {string} how much of a folder arrived, if not all of it */
function some({ files, done }) {
  return files === undefined || done === files ? "" : `${done} of ${files} files. `;
}

/** Where a complete file is, as far as the page knows. @param {any} item */
function savingWords({ saving, place }) {
  switch (saving) {
    case "waiting": return "Received and checked. Waiting for its turn to be saved.";
    case "rest": return "Received and checked. It is saved with the rest of its archive.";
    case "packing": return "Received and checked. Packing the archive…";
    case "given": return "Received and checked. Look in your downloads.";
    case "packed": return `Received and checked. Look for ${place} in your downloads.`;
    case "written": return `Received and checked. Saved in the folder ${place}.`;
    case "failed": return "Received and checked, but not saved. This page still has it: save it now.";
    default: return "Received and checked.";
  }
}

/**
 * Returns the progress of all transfers together.
 * @param {import("./progress.js").Total | undefined} total
 * @param {boolean} connected
 * @param {number} saving how many files still have to be saved
 * @param {boolean} [copies] whether several people get the same file
 * @returns {string}
 */
export function totalWords(total, connected, saving, copies = false) {
  const left = saving > 0 ? `${saving} ${saving === 1 ? "file is" : "files are"} still to be saved. Leave this page open.` : "";
  if (total === undefined) return left;
  const { receives, sends, files, done, size, moved, rate } = total;
  const does = receives && sends ? "Sending and receiving" : receives ? "Receiving" : "Sending";
  return [
    `${connected ? does : "Interrupted"}: ${done} of ${files} ${files === 1 ? "file" : copies ? "copies" : "files"}`,
    `${sizeWords(moved)} of ${sizeWords(size)}`,
    ...(connected && rate > 0 ? [`${sizeWords(rate)}/s`, timeWords((size - moved) / rate)] : []),
    ...(left ? [left] : []),
  ].join(" · ");
}

/** @param {number} done @param {number} size */
export function percentWords(done, size) {
  return `${size === 0 ? 100 : Math.floor((100 * done) / size)} %`;
}

/** @param {number} bytes */
export function sizeWords(bytes) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let unit = 0;
  let amount = bytes;
  for (; amount >= 999.5 && unit < units.length - 1; unit++) amount /= 1000;
  return `${unit === 0 || amount >= 99.5 ? Math.round(amount) : amount.toPrecision(2)} ${bytes === 1 ? "byte" : units[unit]}`;
}

/** @param {number} seconds */
export function timeWords(seconds) {
  if (seconds < 1) return "almost done";
  if (seconds < 100) return `${Math.round(seconds)} s left`;
  if (seconds < 6000) return `${Math.round(seconds / 60)} min left`;
  return `${Math.round(seconds / 3600)} h left`;
}
