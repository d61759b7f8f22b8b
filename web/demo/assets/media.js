/** Camera and microphone: as much of them as there is. */

import { clearProblems, showOwn, showProblem } from "./view.js";

/** What can be wrong with them, as names in words.js. */
const names = ["insecure", "media-denied", "media-in-use", "no-media", "no-camera", "camera-in-use",
  "no-microphone", "microphone-in-use", "media-ended"];

/**
 * @typedef {"both" | "microphone" | "none"} Wish
 *
 * @typedef {object} Media
 * @property {MediaStream} stream empty when nothing is there
 * @property {string} [problem] a name in words.js: why less is there than was wished for
 */

/**
 * Opens what is wished for, or else as much of it as possible. Never fails.
 * @param {Wish} wish
 * @returns {Promise<Media>}
 */
async function openMedia(wish) {
  if (wish === "none") return { stream: new MediaStream() };
  if (navigator.mediaDevices?.getUserMedia === undefined) {
    return { stream: new MediaStream(), problem: "insecure" };
  }
  const audio = { echoCancellation: true, noiseSuppression: true };
  const video = { width: { ideal: 1280 }, height: { ideal: 720 }, facingMode: "user" };
  const tries = wish === "both" ? [{ audio, video }, { audio }, { video }] : [{ audio }];
  /** @type {unknown} */
  let first;
  for (const constraints of tries) {
    try {
      const stream = await navigator.mediaDevices.getUserMedia(constraints);
      return { stream, problem: first === undefined ? undefined : lacking(first, stream) };
    } catch (error) {
      first ??= error;
      // Who said no once is not asked a second time.
      if (nameOf(error) === "NotAllowedError") break;
    }
  }
  return { stream: new MediaStream(), problem: reason(first) };
}

/** What this side sends: shown to oneself, and with problems told. */
export class OwnMedia {
  stream = new MediaStream();
  /** @type {Wish} */
  wish = "both";
  /** Counts what was begun, because a person can take long to answer the browser's question. */
  #turn = 0;
  /** Called when there is another stream, or a track was switched. */
  onchange = async () => {};

  /** Opens what is wished for, again if it was open. */
  async open() {
    const turn = ++this.#turn;
    const { stream, problem } = await openMedia(this.wish);
    if (turn !== this.#turn) {
      for (const track of stream.getTracks()) track.stop();
      return;
    }
    this.close();
    this.stream = stream;
    const retry = { media: () => this.open() };
    if (problem) showProblem(problem, retry);
    for (const track of stream.getTracks()) {
      track.onended = () => showProblem("media-ended", retry);
    }
    showOwn(stream);
    await this.onchange();
  }

  /** Turns camera and microphone off, so that their lights go out. */
  close() {
    this.#turn++;
    for (const track of this.stream.getTracks()) track.stop();
    clearProblems(...names);
    showOwn(this.stream);
  }

  /** @param {"audio" | "video"} kind */
  toggle(kind) {
    for (const track of this.stream.getTracks()) {
      if (track.kind === kind) track.enabled = !track.enabled;
    }
    showOwn(this.stream);
    this.onchange();
  }

  /** @returns {boolean} whether less is open than could be */
  get closed() {
    return this.wish !== "none" && !this.stream.active;
  }

  /** @returns {object} for the other side, so that a dark picture has a reason */
  get told() {
    const on = (/** @type {MediaStreamTrack[]} */ tracks) => tracks.some((track) => track.enabled);
    return { type: "media", camera: on(this.stream.getVideoTracks()), microphone: on(this.stream.getAudioTracks()) };
  }
}

/**
 * @param {unknown} error
 * @param {MediaStream} stream what was found in spite of it
 */
function lacking(error, stream) {
  const which = stream.getVideoTracks().length === 0 ? "camera" : "microphone";
  return nameOf(error) === "NotReadableError" ? `${which}-in-use` : `no-${which}`;
}

/** @param {unknown} error */
function reason(error) {
  switch (nameOf(error)) {
    case "NotAllowedError":
    case "SecurityError":
      return "media-denied";
    case "NotReadableError":
    case "AbortError":
      return "media-in-use";
    default:
      return "no-media";
  }
}

/** @param {unknown} error */
function nameOf(error) {
  return error instanceof Error || error instanceof DOMException ? error.name : "";
}
