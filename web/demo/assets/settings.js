/** Stores the identity and the state of this tab, and the settings of this browser. */

import { cleanName } from "./names.js";

/** Separates the storage of several servers under one origin. */
export const SCOPE = new URL("inbox", location.href).pathname;

/** Storage that survives a reload but not the tab. */
export const tab = openStorage("sessionStorage");
const browser = openStorage("localStorage");

/**
 * @typedef {object} Kept
 * @property {string} id
 * @property {string} password
 * @property {boolean} [random] whether the id is random instead of typed
 * @property {boolean} [running] whether the inbox was open
 * @property {string} [peer] the peer that this tab called or was connected to
 * @property {boolean} [worked] whether the two were connected
 * @property {string} [peerName] the other person's name
 * @property {boolean} [ask] whether a call rings
 * @property {import("./media.js").Wish} [wish]
 * @property {string} [room] the room that this tab was in
 * @property {string[]} [off] the kinds of devices that the person has switched off
 */

/**
 * @param {"call" | "files"} page
 * @returns {Kept | undefined} the state of this tab before a reload
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

/** Maximum number of stored chat messages, and of their characters together. The oldest ones are dropped. */
const MAX_LINES = 300;
const MAX_CHAT = 200_000;

/**
 * @typedef {{kind: "mine" | "theirs", text: string, at: number, author?: string}} Line a chat message; at: its time, in
 *   milliseconds since 1970; author: who wrote it, if that is not this person
 *
 * @returns {Line[]} the chat of this tab's call
 */
export function loadChat() {
  const kept = parse(tab?.getItem(`inbox:chat:${SCOPE}`));
  return Array.isArray(kept) ? kept.filter(({ kind, text, at, author = "" }) => ["mine", "theirs"].includes(kind) && typeof text === "string" && typeof at === "number" && typeof author === "string") : [];
}

/** @param {Line} line */
export function keepLine(line) {
  const lines = [...loadChat(), line].slice(-MAX_LINES);
  let length = lines.reduce((sum, { text }) => sum + text.length, 0);
  while (length > MAX_CHAT) length -= lines.shift()?.text.length ?? 0;
  try {
    tab?.setItem(`inbox:chat:${SCOPE}`, JSON.stringify(lines));
  } catch {
    // The storage is full: the earlier messages stay.
  }
}

export function forgetChat() {
  tab?.removeItem(`inbox:chat:${SCOPE}`);
}

/**
 * @typedef {{outgoing: import("./outgoing.js").Kept[], incoming: import("./incoming.js").Kept[]}} KeptLists
 *
 * Loads the transfers of this tab.
 * @returns {KeptLists & {others: (KeptLists & {peer: string, name: string})[]}} others: those with people in a room
 */
export function loadTransfers() {
  const kept = parse(tab?.getItem(`inbox:transfers:${SCOPE}`));
  return { outgoing: kept?.outgoing ?? [], incoming: kept?.incoming ?? [], others: kept?.others ?? [] };
}

/** @param {ReturnType<typeof loadTransfers>} kept */
export function saveTransfers(kept) {
  try {
    tab?.setItem(`inbox:transfers:${SCOPE}`, JSON.stringify(kept));
  } catch {
    // The storage is full, for example of long names: the earlier state stays.
  }
}

/**
 * Returns what is wrong with an id by the rules of the protocol; undefined if it is valid.
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
 * @typedef {{urls: string, username: string, credential: string}} Ice the typed servers
 * @returns {Ice}
 */
export function loadIce() {
  const kept = parse(browser?.getItem(`inbox:ice:${SCOPE}`));
  const text = (/** @type {unknown} */ value) => (typeof value === "string" ? value : "");
  return { urls: text(kept?.urls), username: text(kept?.username), credential: text(kept?.credential) };
}

/** @returns {string} the name that this person typed, or an empty string */
export function loadName() {
  return cleanName(browser?.getItem(`inbox:name:${SCOPE}`));
}

/** @param {string} name an empty string removes the stored one */
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
 * @returns {RTCIceServer[]} the typed servers; empty by default
 * @throws {Error} with a message for the person who typed them
 */
export function iceServers({ urls, username, credential }) {
  const list = urls.split(/[\s,]+/).filter((url) => url !== "");
  const servers = list.map((typed) => {
    // People often copy a host without a scheme. Its name tells the scheme.
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
    // The browser decides whether it accepts them.
    new RTCPeerConnection({ iceServers: servers }).close();
  } catch (error) {
    throw new Error(`The browser does not accept these servers: ${error instanceof Error ? error.message : error}`);
  }
  return servers;
}

/** @returns {RTCIceServer[] | undefined} the stored servers; undefined, which means the server's, if none are stored or they are invalid */
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
 * @returns {Storage | undefined} undefined if the browser forbids it
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
