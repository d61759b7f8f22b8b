/** What the page keeps: who this tab is, what it was doing, and the ICE servers. */

/** Without look-alikes, so that an id can be read aloud. */
const LETTERS = "abcdefghjkmnpqrstvwxyz0123456789";
/** Two servers under one origin do not share what is kept. */
const SCOPE = new URL("inbox", location.href).pathname;

/** Gone with the tab, but not with a reload. */
export const tab = openStorage("sessionStorage");
const browser = openStorage("localStorage");

/**
 * @typedef {object} Kept
 * @property {string} id
 * @property {string} password
 * @property {boolean} [running] whether the inbox was open
 * @property {string} [peer] whom this tab was in a call with
 * @property {boolean} [ask] whether a call rings
 * @property {import("./media.js").Wish} [wish]
 */

/** @returns {Kept | undefined} who this tab was before it was reloaded */
export function loadTab() {
  const kept = parse(tab?.getItem(`inbox:tab:${SCOPE}`));
  return typeof kept?.id === "string" && typeof kept.password === "string" ? kept : undefined;
}

/** @param {Kept} kept */
export function saveTab(kept) {
  tab?.setItem(`inbox:tab:${SCOPE}`, JSON.stringify(kept));
}

/**
 * An id that nobody guesses: 125 random bits in five groups.
 * @returns {string}
 */
export function randomId() {
  const values = crypto.getRandomValues(new Uint8Array(25));
  const letters = Array.from(values, (value) => LETTERS[value % LETTERS.length]).join("");
  return letters.replace(/.{5}(?=.)/g, "$&-");
}

/**
 * What is wrong with an id, by the rules of the protocol.
 * @param {string} id
 * @returns {string | undefined}
 */
export function faultOfId(id) {
  if (id === "") return "An id needs at least one character.";
  if (id.includes(":")) return "An id cannot hold a colon.";
  if (id !== id.trim()) return "An id cannot begin or end with a space.";
  if (/\p{Cc}/u.test(id)) return "An id cannot hold control characters.";
  if (/\p{Cs}/u.test(id)) return "An id cannot hold half a character.";
  if (new TextEncoder().encode(id).length > 512) return "That id is too long: 512 bytes at most.";
  return undefined;
}

/**
 * The link that calls a peer. The id is in the fragment, which browsers send to no server.
 * @param {string} id
 * @returns {string}
 */
export function linkTo(id) {
  return new URL(`call#to=${encodeURIComponent(id)}`, location.href).href;
}

/** @returns {string | undefined} whom this page's link calls */
export function peerOfLink() {
  return new URLSearchParams(location.hash.slice(1)).get("to") || undefined;
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

/** @param {Ice} ice */
export function saveIce(ice) {
  browser?.setItem(`inbox:ice:${SCOPE}`, JSON.stringify(ice));
}

/**
 * @param {Ice} ice
 * @returns {RTCIceServer[]} none by default: nobody else is asked for anything
 * @throws {Error} saying what is wrong
 */
export function iceServers({ urls, username, credential }) {
  const list = urls.split(/[\s,]+/).filter((url) => url !== "");
  const servers = list.map((url) => {
    if (!/^(stuns?|turns?):[^/]/i.test(url)) {
      throw new Error(`“${url}” is no address of an ICE server. They look like stun:host:3478 or turn:host:3478.`);
    }
    const relay = /^turns?:/i.test(url);
    if (relay && (username === "" || credential === "")) {
      throw new Error("A turn: server needs a username and a credential.");
    }
    return relay ? { urls: url, username, credential } : { urls: url };
  });
  try {
    // The browser knows best what it can read.
    new RTCPeerConnection({ iceServers: servers }).close();
  } catch (error) {
    throw new Error(`The browser refuses these ICE servers: ${error instanceof Error ? error.message : error}`);
  }
  return servers;
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
function parse(text) {
  try {
    return JSON.parse(text ?? "null") ?? undefined;
  } catch {
    return undefined;
  }
}
