/** Rings: repeats a sound, and on a phone a vibration, until someone answers. */

/** Duration of one ring and the silence after it, in seconds. */
const PERIOD = 3;
/** Start times of the two bursts of a ring, and the duration of a burst, in seconds. */
const BURSTS = [0, 0.6];
const BURST = 0.4;
/** The tones of the bursts, in hertz, and their volume, of at most 1. */
const TONES = [523.25, 659.25];
const LOUD = 0.35;
/** Vibrations and pauses, alternating, in milliseconds. */
const SHAKES = [400, 200, 400, 2000];
/** How long a browser may take to allow sound, in milliseconds. */
const SOUND_TIMEOUT = 500;

/** @type {AudioContext | undefined} */
let context;
/** @type {AudioBufferSourceNode | undefined} */
let sounding;

/**
 * Asks the browser for permission to play sound. Browsers give it once a person has used the page.
 * @returns {Promise<boolean>} whether a ring can be heard
 */
export async function prepareRing() {
  if (typeof AudioContext !== "function" || navigator.userActivation?.hasBeenActive === false) return false;
  context ??= new AudioContext();
  // While the browser blocks sound, resume() waits for a click, possibly forever.
  await Promise.race([context.resume().catch(() => {}), new Promise((resolve) => setTimeout(resolve, SOUND_TIMEOUT))]);
  return context?.state === "running";
}

/** Rings until it is stopped. */
export function startRing() {
  stopRing();
  if (navigator.userActivation?.hasBeenActive) navigator.vibrate?.(Array(20).fill(SHAKES).flat());
  if (context === undefined) return;
  context.resume().catch(() => {});
  sounding = new AudioBufferSourceNode(context, { buffer: ringing(context), loop: true });
  sounding.connect(context.destination);
  sounding.start();
}

/** Stops ringing. */
export function stopRing() {
  if (sounding === undefined) return;
  if (navigator.userActivation?.hasBeenActive) navigator.vibrate?.(0);
  sounding.stop();
  sounding = undefined;
}

/** Stops ringing and releases the loudspeaker. */
export function closeRing() {
  stopRing();
  context?.close().catch(() => {});
  context = undefined;
}

/** @param {AudioContext} context */
function ringing({ sampleRate }) {
  const buffer = new AudioBuffer({ length: Math.round(PERIOD * sampleRate), sampleRate });
  const samples = buffer.getChannelData(0);
  for (const [i, begin] of BURSTS.entries()) {
    for (let n = 0; n < BURST * sampleRate; n++) {
      const at = n / sampleRate;
      // Fade in and out, so that the loudspeaker does not click.
      const rise = Math.min(1, at / 0.02, (BURST - at) / 0.1);
      samples[Math.round(begin * sampleRate) + n] = LOUD * rise * Math.sin(2 * Math.PI * TONES[i % TONES.length] * at);
    }
  }
  return buffer;
}
