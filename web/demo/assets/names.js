/**
 * Names of people. A person types a name, the browser stores it, and only the connection
 * to the other person carries it. Without a typed name, the id determines one.
 */

import { plainLine, plainText } from "./text.js";

/** Maximum length of a name, in characters as people count them. */
const MAX_NAME = 40;

/**
 * Removes everything from a name that cannot be shown.
 * @param {unknown} text from a person, or from a stranger's page
 * @returns {string} one line; empty if nothing visible is left
 */
export function cleanName(text) {
  if (typeof text !== "string") return "";
  const name = plainLine(text, MAX_NAME);
  // A combining mark without a letter would be drawn over the text before the name.
  return /^(?!\p{M})/u.test(name) && /[\p{L}\p{N}\p{P}\p{S}]/u.test(name) ? name : "";
}

/**
 * Removes everything from a message that cannot be shown. Line breaks stay.
 * @param {string} text from a stranger's page
 * @returns {string}
 */
export function cleanText(text) {
  return text.split(/\r?\n/).map((line) => plainText(line.replace(/\t/g, " "), "")).join("\n").replace(/\n{3,}/g, "\n\n").trim();
}

/**
 * Wraps a name so that its writing direction does not reorder the plain text around it,
 * such as the title of a tab. Within HTML, a bdi element does the same.
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
 * Derives a name from an id for a person who typed none. Both sides derive the same name,
 * which does not reveal the id.
 * @param {string} id
 * @returns {string}
 */
export function friendlyName(id) {
  const hash = hashOf(id);
  return `${kinds[hash % 32]} ${animals[(hash >>> 5) % 32]}`;
}

/**
 * Computes a 32-bit FNV-1a hash, also in browsers without crypto.subtle.
 * @param {string} text
 * @returns {number}
 */
export function hashOf(text) {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return (hash ^ (hash >>> 15)) >>> 0;
}
