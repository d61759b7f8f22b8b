/**
 * What people are called. A name is typed by its owner, kept on the device and sent
 * only inside the connection. Someone who types none has a name made of the id.
 */

import { plainLine, plainText } from "./text.js";

/** The longest name, in characters as people count them. */
const MAX_NAME = 40;

/**
 * The part of a name that can be shown.
 * @param {unknown} text from a person, or from a stranger's page
 * @returns {string} one line; empty if nothing of it can be seen
 */
export function cleanName(text) {
  if (typeof text !== "string") return "";
  const name = plainLine(text, MAX_NAME);
  // A mark without a letter is drawn over what stands before the name.
  return /^(?!\p{M})/u.test(name) && /[\p{L}\p{N}\p{P}\p{S}]/u.test(name) ? name : "";
}

/**
 * The part of a message that can be shown, on as many lines as it has.
 * @param {string} text from a stranger's page
 * @returns {string}
 */
export function cleanText(text) {
  return text.split(/\r?\n/).map((line) => plainText(line.replace(/\t/g, " "), "")).join("\n").replace(/\n{3,}/g, "\n\n").trim();
}

/**
 * A name for inside a sentence that is plain text, as a page's title is: it cannot
 * reorder the sentence. Inside an element of its own, bdi does that.
 * @param {string} name
 */
export const isolate = (name) => `\u2068${name}\u2069`;

const kinds = ["Amber", "Brave", "Bright", "Calm", "Cheerful", "Clever", "Coral", "Cosy", "Curious", "Eager", "Gentle",
  "Golden", "Happy", "Honest", "Jolly", "Kind", "Lively", "Lucky", "Mellow", "Merry", "Nimble", "Patient", "Plucky",
  "Polite", "Quick", "Quiet", "Rosy", "Silver", "Sunny", "Swift", "Warm", "Witty"];
const animals = ["Badger", "Beaver", "Bison", "Crane", "Deer", "Dolphin", "Falcon", "Finch", "Fox", "Gecko", "Hare",
  "Hedgehog", "Heron", "Koala", "Lark", "Lynx", "Marten", "Mole", "Newt", "Otter", "Owl", "Panda", "Penguin", "Puffin",
  "Raven", "Robin", "Seal", "Sparrow", "Swan", "Tortoise", "Whale", "Wren"];

/**
 * A name for someone who typed none. Both sides make the same one of the same id,
 * and the id cannot be told from it.
 * @param {string} id
 * @returns {string}
 */
export function friendlyName(id) {
  const hash = hashOf(id);
  return `${kinds[hash % 32]} ${animals[(hash >>> 5) % 32]}`;
}

/**
 * FNV-1a: 32 bits, the same in every browser, also where crypto.subtle is missing.
 * @param {string} text
 * @returns {number}
 */
export function hashOf(text) {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return (hash ^ (hash >>> 15)) >>> 0;
}
