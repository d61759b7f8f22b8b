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
 *
 * @param {import("./files-view.js").State} state
 * @param {Situation} situation
 * @returns {{status: string, title: string, text: string, hint?: string}}
 */
export function meetWords(state, { linked, ending, name, problem, gone, short, away = false }) {
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

/** Why a transfer was cancelled. @type {Record<string, string>} */
const why = {
  "ours": "You cancelled it.",
  "theirs": "The other person cancelled it.",
  "declined": "The other person declined it.",
  "unwanted": "You declined it.",
};

const back = "Interrupted. It continues when you are connected again.";
const turn = "Waiting for its turn.";

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
 * @returns {string}
 */
export function totalWords(total, connected, saving) {
  const left = saving > 0 ? `${saving} ${saving === 1 ? "file is" : "files are"} still to be saved. Leave this page open.` : "";
  if (total === undefined) return left;
  const { receives, sends, files, done, size, moved, rate } = total;
  const does = receives && sends ? "Sending and receiving" : receives ? "Receiving" : "Sending";
  return [
    `${connected ? does : "Interrupted"}: ${done} of ${files} ${files === 1 ? "file" : "files"}`,
    `${sizeWords(moved)} of ${sizeWords(size)}`,
    ...(connected && rate > 0 ? [`${sizeWords(rate)}/s`, timeWords((size - moved) / rate)] : []),
    ...(left ? [left] : []),
  ].join(" · ");
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
