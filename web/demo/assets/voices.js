/** Watches who speaks in a group call. */

/** How often to look, and how long a voice counts after its last sound, in milliseconds. */
const INTERVAL = 200;
const HOLD = 700;
/** The level of a voice; a silent microphone stays far below it. The loudest is 1. */
const LOUD = 0.02;

/**
 * @typedef {object} Voice
 * @property {string | undefined} id undefined for this person
 * @property {RTCPeerConnection} pc the connection to them; for this person, any
 */

/**
 * Watches until the signal is aborted.
 * @param {() => Voice[]} voices
 * @param {(id: string | undefined, speaks: boolean) => void} show called for each voice that begins or ends
 * @param {AbortSignal} signal
 */
export function watchVoices(voices, show, signal) {
  /** When each voice ends. @type {Map<string | undefined, number>} */
  const heard = new Map();
  const timer = setInterval(async () => {
    if (document.hidden) return;
    const levels = await Promise.all(voices().map(async ({ id, pc }) => ({ id, level: id === undefined ? await ownLevel(pc) : levelOf(pc) })));
    if (signal.aborted) return;
    const now = performance.now();
    for (const { id, level } of levels) {
      if (level < LOUD) continue;
      if (!heard.has(id)) show(id, true);
      heard.set(id, now + HOLD);
    }
    for (const [id, until] of heard) {
      if (until > now) continue;
      heard.delete(id);
      show(id, false);
    }
  }, INTERVAL);
  signal.addEventListener("abort", () => clearInterval(timer));
}

/** @param {RTCPeerConnection} pc @returns {number} the level of the arriving sound */
function levelOf(pc) {
  const receiver = pc.getReceivers().find(({ track }) => track.kind === "audio");
  return receiver?.getSynchronizationSources()[0]?.audioLevel ?? 0;
}

/** @param {RTCPeerConnection} pc @returns {Promise<number>} the level of this person's microphone; 0 if the browser does not say */
async function ownLevel(pc) {
  const sender = pc.getSenders().find(({ track }) => track?.kind === "audio");
  if (!sender?.track?.enabled) return 0;
  for (const report of /** @type {any} */ (await sender.getStats()).values()) {
    if (report.type === "media-source") return report.audioLevel ?? 0;
  }
  return 0;
}
