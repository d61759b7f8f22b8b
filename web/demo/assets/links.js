/** Turns web addresses in messages into links. */

/** Matches an address up to white space, quotes, or brackets that an address cannot contain. */
const ADDRESS = /\bhttps?:\/\/[^\s<>"“”«»]+/giu;
/** Punctuation that ends a sentence rather than an address. */
const SENTENCE = /[.,:;!?…'’»”*_~]$/u;

/**
 * Appends text to an element. Web addresses become links; everything else stays plain text.
 * @param {HTMLElement} element
 * @param {string} text
 */
export function appendLinked(element, text) {
  let at = 0;
  for (const { 0: found, index } of text.matchAll(ADDRESS)) {
    const address = withoutEnd(found);
    const url = webAddress(address);
    if (url === undefined) continue;
    const link = document.createElement("a");
    link.href = url;
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
    link.textContent = address;
    element.append(text.slice(at, index), link);
    at = index + address.length;
  }
  element.append(text.slice(at));
}

/**
 * @param {string} address
 * @returns {string} without the punctuation of the sentence around it
 */
function withoutEnd(address) {
  const count = (/** @type {string} */ mark) => address.split(mark).length - 1;
  /** How many brackets of each kind nothing opens. @type {Record<string, number>} */
  const unopened = { ")": count(")") - count("("), "]": count("]") - count("["), "}": count("}") - count("{") };
  for (let end = address.length; ; end--) {
    const last = address.charAt(end - 1);
    if (unopened[last] > 0) unopened[last]--;
    else if (!SENTENCE.test(last)) return address.slice(0, end);
  }
}

/**
 * @param {string} address
 * @returns {string | undefined} the normalized address; undefined if it may mislead the reader
 */
function webAddress(address) {
  try {
    const { href, protocol, username, password } = new URL(address);
    // In https://bank.example@other.example/, the host is the second one.
    return ["http:", "https:"].includes(protocol) && username === "" && password === "" ? href : undefined;
  } catch {
    return undefined;
  }
}
