/** Messages between two connected pages: JSON over a separate channel, where they do not wait behind file data. */

/** Maximum length of a message from the other side, in characters. */
const MAX_TEXT = 16_384;

/**
 * Returns a function that reports whether one more message counts. A person never sends more; a
 * hostile page could otherwise keep this one busy, and push everything else out of the log.
 * @param {number} burst messages that count at once
 * @param {number} perSecond messages that count in the long run
 * @returns {() => boolean}
 */
export function allowance(burst, perSecond) {
  let left = burst;
  let at = performance.now();
  return () => {
    const now = performance.now();
    left = Math.min(burst, left + ((now - at) * perSecond) / 1000);
    at = now;
    if (left < 1) return false;
    left--;
    return true;
  };
}

/** Returns what limits the texts of one person, and what limits other news of theirs. */
export const allowances = () => ({ text: allowance(100, 5), news: allowance(100, 5) });

/** Adds the channel to a connection before it is made. Both sides do so. @param {RTCPeerConnection} pc */
export function messagesOf(pc) {
  return pc.createDataChannel("words", { negotiated: true, id: 0 });
}

/**
 * Sends a message.
 * @param {RTCDataChannel | undefined} channel
 * @param {object} data
 * @returns {boolean} whether the channel was open
 */
export function sendMessage(channel, data) {
  if (channel?.readyState !== "open") return false;
  channel.send(JSON.stringify(data));
  return true;
}

/**
 * @param {unknown} text from the other side
 * @returns {any} an object whose type is a string; undefined for anything else
 */
export function readMessage(text) {
  if (typeof text !== "string" || text.length > MAX_TEXT) return undefined;
  try {
    const data = JSON.parse(text);
    return typeof data?.type === "string" ? data : undefined;
  } catch {
    return undefined;
  }
}
