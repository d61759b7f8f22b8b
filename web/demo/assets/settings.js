/** What the page keeps: who this tab is, what it was doing, and the ICE servers. */

import { cleanName } from "./names.js";

/** Two servers under one origin do not share what is kept. */
export const SCOPE = new URL("inbox", location.href).pathname;

/** Gone with the tab, but not with a reload. */
export const tab = openStorage("sessionStorage");
const browser = openStorage("localStorage");

/**
 * @typedef {object} Kept
 * @property {string} id
 * @property {string} password
 * @property {boolean} [random] whether the id was drawn, and not typed
 * @property {boolean} [running] whether the inbox was open
 * @property {string} [peer] whom this tab was connected with, or called
 * @property {boolean} [worked] whether the two were connected
 * @property {string} [peerName] what the other side is called
 * @property {boolean} [ask] whether a call rings
 * @property {import("./media.js").Wish} [wish]
 */

/**
 * @param {"call" | "files"} page
 * @returns {Kept | undefined} who this tab was before it was reloaded
 */
export function loadTab(page) {
  const kept = parse(tab?.getItem(`inbox:${page}:${SCOPE}`));
  return typeof kept?.id === "string" && typeof kept.password === "string" ? kept : undefined;
}

/**
 * @param {"call" | "files"} page
 * @param {Kept} kept
 */
export function saveTab(page, kept) {
  tab?.setItem(`inbox:${page}:${SCOPE}`, JSON.stringify(kept));
}

/** What is kept of a chat: its last lines, and no more than this many characters of them. */
const MOST_LINES = 300;
const MOST_CHAT = 200_000;

/**
 * @typedef {{kind: "mine" | "theirs", text: string, at: number}} Line of a chat, and when it was written
 *
 * @returns {Line[]} what was written in this tab's call
 */
export function loadChat() {
  const kept = parse(tab?.getItem(`inbox:chat:${SCOPE}`));
  return Array.isArray(kept) ? kept.filter(({ kind, text, at }) => ["mine", "theirs"].includes(kind) && typeof text === "string" && typeof at === "number") : [];
}

/** @param {Line} line */
export function keepLine(line) {
  const lines = [...loadChat(), line].slice(-MOST_LINES);
  let length = lines.reduce((sum, { text }) => sum + text.length, 0);
  while (length > MOST_CHAT) length -= lines.shift()?.text.length ?? 0;
  try {
    tab?.setItem(`inbox:chat:${SCOPE}`, JSON.stringify(lines));
  } catch {
    // The browser keeps no more: what is kept from before stays.
  }
}

export function forgetChat() {
  tab?.removeItem(`inbox:chat:${SCOPE}`);
}

/**
 * What this tab was sending and receiving.
 * @returns {{outgoing: import("./outgoing.js").Kept[], incoming: import("./incoming.js").Kept[]}}
 */
export function loadTransfers() {
  const kept = parse(tab?.getItem(`inbox:transfers:${SCOPE}`));
  return { outgoing: kept?.outgoing ?? [], incoming: kept?.incoming ?? [] };
}

/** @param {ReturnType<typeof loadTransfers>} kept */
export function saveTransfers(kept) {
  try {
    tab?.setItem(`inbox:transfers:${SCOPE}`, JSON.stringify(kept));
  } catch {
    // A thousand long names: what is kept from before is better than an end to it all.
  }
}

/**
 * What is wrong with an id, by the rules of the protocol.
 * @param {string} id
 * @returns {string | undefined}
 */
export function faultOfId(id) {
  if (id === "") return "The ending needs at least one character.";
  if (id.includes(":")) return "The ending cannot contain a colon.";
  if (id !== id.trim()) return "The ending cannot begin or end with a space.";
  if (/\p{Cc}/u.test(id)) return "The ending cannot contain invisible control characters.";
  if (/\p{Cs}/u.test(id)) return "The ending contains half a character. Type it again.";
  if (new TextEncoder().encode(id).length > 512) return "That ending is too long. Choose a shorter one.";
  return undefined;
}

/**
 * @typedef {{urls: string, username: string, credential: string}} Ice as typed
 * @returns {Ice}
 */
export function loadIce() {
  const kept = parse(browser?.getItem(`inbox:ice:${SCOPE}`));
  const text = (/** @type {unknown} */ value) => (typeof value === "string" ? value : "");
  return { urls: text(kept?.urls), username: text(kept?.username), credential: text(kept?.credential) };
}

/** @returns {string} the name that its owner typed on this device, or nothing */
export function loadName() {
  return cleanName(browser?.getItem(`inbox:name:${SCOPE}`));
}

/** @param {string} name nothing forgets it */
export function saveName(name) {
  const key = `inbox:name:${SCOPE}`;
  if (name === "") browser?.removeItem(key);
  else browser?.setItem(key, name);
}

/** @param {Ice} ice */
export function saveIce(ice) {
  browser?.setItem(`inbox:ice:${SCOPE}`, JSON.stringify(ice));
}

/**
 * @param {Ice} ice
 * @returns {RTCIceServer[]} those that were typed; none by default
 * @throws {Error} saying what is wrong
 */
export function iceServers({ urls, username, credential }) {
  const list = urls.split(/[\s,]+/).filter((url) => url !== "");
  const servers = list.map((typed) => {
    // A host without a scheme is what people copy: its name says what it is.
    const url = /^(\[[\da-f:.]+\]|[\w.-]+)(:\d+)?$/i.test(typed) ? `${/^turn/i.test(typed) ? "turn" : "stun"}:${typed}` : typed;
    if (!/^(stuns?|turns?):[^/]/i.test(url)) {
      throw new Error(`“${url}” is not the address of a STUN or TURN server. Such an address looks like stun.example.com:3478 or turn:turn.example.com.`);
    }
    const relay = /^turns?:/i.test(url);
    if (relay && (username === "" || credential === "")) {
      throw new Error("A TURN server needs a username and a password. Enter both.");
    }
    return relay ? { urls: url, username, credential } : { urls: url };
  });
  try {
    // The browser knows best what it can read.
    new RTCPeerConnection({ iceServers: servers }).close();
  } catch (error) {
    throw new Error(`The browser does not accept these servers: ${error instanceof Error ? error.message : error}`);
  }
  return servers;
}

/** @returns {RTCIceServer[] | undefined} those that are kept; undefined, for those of the server, if there are none or the browser cannot use them, which the form says */
export function ownIceServers() {
  try {
    const own = iceServers(loadIce());
    return own.length > 0 ? own : undefined;
  } catch {
    return undefined;
  }
}

/**
 * @param {"sessionStorage" | "localStorage"} name
 * @returns {Storage | undefined} undefined where the browser forbids it
 */
function openStorage(name) {
  try {
    const storage = window[name];
    storage.getItem("");
    return storage;
  } catch {
    return undefined;
  }
}

/** @param {string | null | undefined} text */
export function parse(text) {
  try {
    return JSON.parse(text ?? "null") ?? undefined;
  } catch {
    return undefined;
  }
}
