/** What the files page says. */

import { endings } from "./words.js";

/**
 * @param {import("./files-view.js").State} state
 * @param {boolean} linked whether this page was opened by a link to somebody
 * @param {string} [ending] why it ended
 * @returns {{status: string, title: string, text: string, hint?: string}}
 */
export function meetWords(state, linked, ending = "") {
  const reload = "Either page can be loaded again: what was begun goes on.";
  switch (state) {
    case "opening": return { status: "Opening your inbox", title: "Send files", text: "One moment: your inbox is being opened." };
    case "insecure": return {
      status: "Not possible here", title: "This page needs a safe address",
      text: "Browsers let a page write files to the disk, and check them, only if it was opened over https or on localhost.",
    };
    case "waiting": return {
      status: "Waiting for somebody", title: "Send files",
      text: "From this browser to another one, directly, and of any size, in both directions. No server keeps anything of them.",
    };
    case "calling": return { status: "Looking for the other side", title: "Connecting", text: "The link was made by somebody's page. It is being looked for." };
    case "ringing":
    case "connecting": return { status: "Connecting", title: "Connecting", text: "The other side is there. Looking for a path between the two of you…" };
    case "connected": return { status: "Connected", title: "Connected", text: "Choose files on either side.", hint: reload };
    case "reconnecting": return {
      status: "Interrupted", title: "Interrupted",
      text: "The connection was lost, or the other side left its page. It goes on by itself as soon as the other side is back.", hint: reload,
    };
    case "ended": return {
      status: "Not connected", title: "Not connected any more",
      text: linked ? ending : `${ending} Your link still works.`,
    };
    case "stopped": return { status: "Stopped", title: "Stopped", text: "This page asks the server for nothing any more." };
  }
}

/**
 * Why two are not connected any more.
 * @param {import("./failures.js").Ending} why
 */
export function endingWords(why) {
  if (why === "hung-up") return "You disconnected.";
  return why === "bye" ? "The other side disconnected." : endings[why];
}

/** Why one was cancelled. @type {Record<string, string>} */
const why = {
  "ours": "You cancelled it.",
  "theirs": "The other side cancelled it.",
  "declined": "The other side does not want it.",
  "unwanted": "You declined it.",
};

const back = "Interrupted. It goes on when the other side is back.";

/**
 * @param {import("./outgoing.js").Sent} transfer
 * @param {boolean} connected
 */
export function outgoingWords(transfer, connected) {
  switch (transfer.state) {
    case "offered": return connected ? "The other side is asked whether it wants it." : "It is offered as soon as somebody is connected.";
    case "going": return !connected ? back : transfer.wanted ? "sending…" : "reading again what was sent before…";
    case "checking": return connected ? "All is sent. The other side checks it." : back;
    case "done": return "Sent, and found to be complete by the other side.";
    case "cancelled": return why[transfer.why ?? ""] ?? "There is not enough room on the other side's disk.";
    case "damaged": return "It came damaged. The other side can ask for it again.";
    case "unreadable": return "This page cannot read it any more: it was loaded again, or the file was changed or moved. Choose it again, and it goes on.";
  }
}

/**
 * @param {import("./incoming.js").Received} transfer
 * @param {boolean} connected
 */
export function incomingWords(transfer, connected) {
  const absent = "The other side has to choose the file again; then it goes on.";
  switch (transfer.state) {
    case "offered": return !transfer.readable ? absent : connected ? "Do you want it?" : "It can be received when the other side is back.";
    case "going": return !connected ? back : transfer.readable ? "receiving…" : absent;
    case "checking": return "Checking whether it is what was sent…";
    case "done": return "Complete, as it was sent. Saved to your downloads.";
    case "cancelled": return why[transfer.why ?? ""] ?? "There is not enough room for it on this disk.";
    case "damaged": return "It is not what was sent, and was not saved. Receive it again.";
    case "unreadable": return absent;
  }
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
