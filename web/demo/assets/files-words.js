/** What the files page says. */

import { isolate } from "./names.js";
import { endings, problems } from "./words.js";

/**
 * @typedef {object} Situation
 * @property {boolean} linked whether this page was opened by a link to somebody
 * @property {import("./failures.js").Ending} ending why it ended, if it did
 * @property {string} [cause] why it failed, as the SDK says it
 * @property {string} name the other side's; empty while it is unknown
 * @property {string} met what is wrong while calling, as a name in words.js; empty if nothing is
 * @property {boolean} gone whether that has been so for a while
 * @property {string} short how the two are connected; empty while they are not
 *
 * @param {import("./files-view.js").State} state
 * @param {Situation} situation
 * @returns {{status: string, title: string, text: string, hint?: string}}
 */
export function meetWords(state, { linked, ending, name, met, gone, short }) {
  const reload = "You can load either page again: what was begun goes on.";
  const [who, them] = name === "" ? ["The other side", "the other side"] : [isolate(name), isolate(name)];
  switch (state) {
    case "opening": return { status: "Opening your inbox", title: "Send files", text: "One moment: this page opens your inbox." };
    case "insecure": return {
      status: "Not possible here", title: "This page needs a safe address",
      text: "Browsers let a page write files to the disk, and check them, only if you opened it over https or on localhost.",
    };
    case "unable": return {
      status: "Not possible here", title: "This browser makes no connections",
      text: "Files go directly from browser to browser, and this browser does not allow that.",
    };
    case "elsewhere": return {
      status: "Open in another tab", title: "These transfers are open in another tab",
      text: "Transfers belong to one tab. You can go on in the other tab, or move them here; the other tab then stops.",
    };
    case "waiting": return {
      status: "Waiting for somebody", title: "Send files",
      text: "From this browser to another one, encrypted, and of any size, in both directions. No server keeps anything of them.",
    };
    case "calling": {
      if (met === "no-such-inbox" && gone) return {
        status: "Nobody is there", title: "Nobody is there",
        text: "The page behind the link has not been open since you came. If it was closed, its link does not work any more. Ask for a new link, or give them yours.",
      };
      if (met === "no-such-inbox") return { status: "Nobody is there yet", title: "Nobody is there yet", text: problems[met].text };
      if (met !== "") return { status: "Trying again", title: problems[met].title, text: problems[met].text };
      return { status: "Looking for the other side", title: "Connecting", text: "This page looks for the one that made the link." };
    }
    case "ringing":
    case "connecting": return { status: `Connecting${name && ` with ${them}`}`, title: `Connecting${name && ` with ${them}`}`, text: `${who} is there. Looking for a path between the two of you…` };
    case "connected": return {
      status: `${short || "Connected"}${name && ` · ${them}`}`, title: `Connected${name && ` with ${them}`}`,
      text: "Choose files on either side.", hint: reload,
    };
    case "reconnecting": return {
      status: "Interrupted", title: "Interrupted",
      text: `The connection was lost, or ${them} left the page. It goes on by itself as soon as ${them} is back.`, hint: reload,
    };
    case "ended": {
      const { title, text } = endingWords(ending);
      return { status: title, title, text: linked ? text : `${text} Your link still works.` };
    }
    case "stopped": return { status: "Stopped", title: "Stopped", text: "This page asks the server for nothing any more." };
  }
}

/** Endings that have other words here than on the call page. @type {Partial<Record<import("./failures.js").Ending, string>>} */
const ends = {
  "hung-up": "You disconnected.",
  "bye": "The other side disconnected.",
  "cancelled": "You stopped before the two of you were connected.",
  "busy": "The other side is busy with somebody else. Try again in a while.",
  "declined": "The page on the other side does not take part.",
  "dropped": "The other side left before the two of you were connected.",
  "no-answer": "The page on the other side is open, but does not answer. Ask them to load it again.",
};

/**
 * How it ended.
 * @param {import("./failures.js").Ending} why
 * @returns {{title: string, text: string}}
 */
export function endingWords(why) {
  const title = ["hung-up", "bye", "left", "lost"].includes(why) ? "Not connected any more"
    : why === "gave-up" ? "Nobody was there" : why === "busy" ? "The other side is busy" : "You were not connected";
  return { title, text: ends[why] ?? endings[why] };
}

/** Why one was cancelled. @type {Record<string, string>} */
const why = {
  "ours": "You cancelled it.",
  "theirs": "The other side cancelled it.",
  "declined": "The other side does not want it.",
  "unwanted": "You declined it.",
};

const back = "Interrupted. It goes on when the other side is back.";
const turn = "Waiting for its turn.";

/**
 * @param {any} item a file or a folder that is sent
 * @param {boolean} connected
 */
export function outgoingWords(item, connected) {
  switch (item.state) {
    case "offered": return connected ? "The other side is asked whether it wants it." : "It is offered as soon as somebody is connected.";
    case "going": return !connected ? back : item.moved === 0 ? turn : item.wanted ? "sending…" : "reading again what was sent before…";
    case "checking": return connected ? "All is sent. The other side checks it." : back;
    case "done": return `${some(item)}Sent. The other side's page has all of it and has checked it.`;
    case "cancelled": return why[item.why ?? ""] ?? (item.why === "full"
      ? "The list on the other side is full. Ask them to clear what is finished, then send it again."
      : "There is not enough room on the other side's disk.");
    case "damaged": return "It came damaged. The other side can ask for it again.";
    case "unreadable": return `This page cannot read it any more: it was loaded again, or the ${item.files ? "folder" : "file"} was changed or moved. Choose it again, and it goes on.`;
  }
}

/**
 * @param {any} item a file or a folder that is received
 * @param {boolean} connected
 */
export function incomingWords(item, connected) {
  const absent = `The other side has to choose the ${item.files ? "folder" : "file"} again; then it goes on.`;
  switch (item.state) {
    case "offered":
      if (item.listed === false) return `${item.members.length} of ${item.files} files are listed so far.`;
      if (!item.readable) return absent;
      if (!connected) return "It can be received when the other side is back.";
      return item.files ? `Do you want it? It arrives as one archive, ${item.name}.zip.` : "Do you want it?";
    case "going": return !connected ? back : !item.readable ? absent : item.moved === 0 ? turn : "receiving…";
    case "checking": return "Checking whether it is what was sent…";
    case "done": return some(item) + savingWords(item);
    case "cancelled": return why[item.why ?? ""] ?? (item.why === "full"
      ? "This page's list is full. Clear what is finished, then ask for it again."
      : "There is not enough room for it on this disk.");
    case "damaged": return "It is not what was sent, and was not saved. Receive it again.";
    case "unreadable": return absent;
  }
}

/** @param {any} item @returns {string} which part of a folder came, if not all of it */
function some({ files, done }) {
  return files === undefined || done === files ? "" : `${done} of ${files} files. `;
}

/** What became of a file that is complete; no more than the page knows. @param {any} item */
function savingWords({ saving, place }) {
  switch (saving) {
    case "waiting": return "Complete, as it was sent. Waiting for its turn to be saved.";
    case "rest": return "Complete, as it was sent. It is saved when the rest of its archive is here.";
    case "packing": return "Complete, as it was sent. Packing the archive…";
    case "given": return "Complete, as it was sent. Handed to this browser's downloads.";
    case "packed": return `Complete, as it was sent. Handed to this browser's downloads in ${place}.`;
    case "written": return `Complete, as it was sent. Saved in the folder ${place}.`;
    case "failed": return "Complete, as it was sent, but it could not be saved. This page still has it: save it now.";
    default: return "Complete, as it was sent.";
  }
}

/**
 * How far everything together has come.
 * @param {import("./progress.js").Total | undefined} total
 * @param {boolean} connected
 * @param {number} saving how many files are to be saved yet
 * @returns {string}
 */
export function totalWords(total, connected, saving) {
  const left = saving > 0 ? `${saving} ${saving === 1 ? "file waits" : "files wait"} to be saved. Leave this page open.` : "";
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
  if (seconds < 1) return "almost there";
  if (seconds < 100) return `${Math.round(seconds)} s left`;
  if (seconds < 6000) return `${Math.round(seconds / 60)} minutes left`;
  return `${Math.round(seconds / 3600)} hours left`;
}
