/** Opens camera, microphone and screen, as far as they are available. */

import { showOwn } from "./call-view.js";
import { limitVideo } from "./quality.js";
import { secureAddress } from "./share.js";
import { clearProblems, showProblem } from "./view.js";

/** Problems of devices, as names in words.js. */
const names = ["insecure", "media-denied", "media-in-use", "no-media", "no-camera", "camera-in-use",
  "no-microphone", "microphone-in-use", "media-ended", "screen-failed"];

/**
 * @typedef {"both" | "microphone" | "none"} Wish
 *
 * @typedef {{audio?: string, video?: string}} Devices ids of chosen devices; the browser chooses the others
 *
 * @typedef {object} Media
 * @property {MediaStream} stream empty if no device is available
 * @property {string} [problem] why a device is missing, as a name in words.js
 */

/**
 * Opens the wanted devices, or as many of them as possible. Never rejects.
 * @param {Wish} wish
 * @param {Devices} devices
 * @returns {Promise<Media>}
 */
async function openMedia(wish, devices) {
  if (wish === "none") return { stream: new MediaStream() };
  if (navigator.mediaDevices?.getUserMedia === undefined) {
    return { stream: new MediaStream(), problem: "insecure" };
  }
  /** @type {unknown} the first error */
  let failure;
  for (const kinds of wish === "both" ? [["audio", "video"], ["audio"], ["video"]] : [["audio"]]) {
    // A chosen device may have been unplugged: try any other one.
    for (const chosen of [devices, {}]) {
      try {
        const stream = await navigator.mediaDevices.getUserMedia(constraintsOf(kinds, chosen));
        return { stream, problem: failure === undefined ? undefined : lacking(failure, stream) };
      } catch (error) {
        // A person who declined is not asked a second time.
        if (nameOf(error) === "NotAllowedError") return { stream: new MediaStream(), problem: reason(failure ?? error) };
        if (chosen !== devices) failure ??= error;
      }
    }
  }
  return { stream: new MediaStream(), problem: reason(failure) };
}

/**
 * @param {string[]} kinds
 * @param {Devices} devices
 * @returns {MediaStreamConstraints}
 */
function constraintsOf(kinds, { audio, video }) {
  return {
    ...(kinds.includes("audio") && { audio: { echoCancellation: true, noiseSuppression: true, ...(audio && { deviceId: { exact: audio } }) } }),
    ...(kinds.includes("video") && {
      video: { width: { ideal: 1280 }, height: { ideal: 720 }, ...(video ? { deviceId: { exact: video } } : { facingMode: "user" }) },
    }),
  };
}

/** The media that this side sends: shows the own video and problems with devices. */
export class OwnMedia {
  stream = new MediaStream();
  /** @type {MediaStream | undefined} the screen, sent instead of the camera */
  screen;
  /** @type {Wish} */
  wish = "both";
  /** @type {Devices} */
  devices = {};
  /** Numbers the attempts to open devices: a person may answer the browser's question late. */
  #turn = 0;
  /** The kinds of devices that the person has switched off. @type {Set<string>} */
  off = new Set();
  /** The senders of each connection. @type {Map<RTCPeerConnection, {audio?: RTCRtpSender, video?: RTCRtpSender}>} */
  #sends = new Map();
  /** How many others the video goes to; undefined without limits. @type {number | undefined} */
  #others;
  /** Called when a device was switched on or off. */
  onchange = () => {};

  /** Opens the wanted devices, unless they are open. @param {Wish} wish */
  async start(wish) {
    const open = this.wish === wish && this.stream.active;
    this.wish = wish;
    if (!open) await this.open();
  }

  /** Opens the wanted devices; reopens them if they are open. */
  async open() {
    const turn = ++this.#turn;
    // Some systems open a camera only once.
    for (const track of this.stream.getTracks()) track.stop();
    const { stream, problem } = await openMedia(this.wish, this.devices);
    if (turn !== this.#turn) {
      for (const track of stream.getTracks()) track.stop();
      return;
    }
    clearProblems(...names);
    this.stream = stream;
    const retry = { media: () => this.open(), https: () => location.assign(secureAddress()) };
    if (problem) showProblem(problem, retry);
    for (const track of stream.getTracks()) {
      track.enabled = !this.off.has(track.kind);
      track.onended = () => showProblem("media-ended", retry);
    }
    await this.#changed();
  }

  /**
   * Switches to another device.
   * @param {"audio" | "video"} kind
   * @param {string} deviceId
   */
  async choose(kind, deviceId) {
    this.devices[kind] = deviceId;
    await this.open();
  }

  /** Shares a screen or window that the person chooses in the browser's dialog, or stops sharing. */
  async toggleScreen() {
    if (this.screen) {
      this.#endScreen();
      await this.#changed();
      return;
    }
    const turn = this.#turn;
    try {
      const screen = await navigator.mediaDevices.getDisplayMedia({ video: true });
      clearProblems("screen-failed");
      if (turn !== this.#turn) {
        for (const track of screen.getTracks()) track.stop();
        return;
      }
      this.screen = screen;
      screen.getTracks()[0].onended = () => this.screen === screen && this.toggleScreen();
    } catch (error) {
      // NotAllowedError usually means that the person cancelled the dialog.
      if (nameOf(error) !== "NotAllowedError") showProblem("screen-failed");
      return;
    }
    await this.#changed();
  }

  /** Stops all devices, so that their lights go out. */
  close() {
    this.#turn++;
    this.#endScreen();
    for (const track of this.stream.getTracks()) track.stop();
    clearProblems(...names);
    this.#sends.clear();
    this.#others = undefined;
    showOwn(this);
  }

  /**
   * Sends the current tracks, and later ones, over a new connection too.
   * @param {RTCPeerConnection} pc
   */
  attach(pc) {
    this.#sends.set(pc, {});
    this.#send(pc);
  }

  /** Limits the video to what a phone can send to several others. @param {number} others */
  limit(others) {
    this.#others = Math.max(1, others);
    this.#limit();
  }

  #limit() {
    if (this.#others === undefined) return;
    for (const { video } of this.#sends.values()) if (video) limitVideo(video, this.#others, this.screen !== undefined);
  }

  /** @param {"audio" | "video"} kind */
  toggle(kind) {
    if (!this.off.delete(kind)) this.off.add(kind);
    for (const track of this.stream.getTracks()) {
      if (track.kind === kind) track.enabled = !this.off.has(kind);
    }
    this.#changed();
  }

  /** @returns {boolean} whether devices are wanted but all are closed */
  get closed() {
    return this.wish !== "none" && !this.stream.active;
  }

  /** @returns {object} the message that tells the other side which devices are on */
  get state() {
    const on = (/** @type {MediaStreamTrack[]} */ tracks) => tracks.some((track) => track.enabled && track.readyState === "live");
    return {
      type: "media",
      camera: on(this.stream.getVideoTracks()),
      microphone: on(this.stream.getAudioTracks()),
      screen: this.screen !== undefined,
    };
  }

  async #changed() {
    showOwn(this);
    await Promise.all([...this.#sends.keys()].map((pc) => this.#send(pc)));
    this.#limit();
    this.onchange();
  }

  /** @param {RTCPeerConnection} pc */
  async #send(pc) {
    const senders = this.#sends.get(pc);
    if (!senders) return;
    if (pc.signalingState === "closed") {
      this.#sends.delete(pc);
      return;
    }
    const live = (/** @type {MediaStreamTrack | undefined} */ track) => (track?.readyState === "live" ? track : undefined);
    for (const kind of /** @type {const} */ (["audio", "video"])) {
      const own = live(this.stream.getTracks().find((track) => track.kind === kind));
      const track = kind === "video" ? this.screen?.getVideoTracks()[0] ?? own : own;
      const sender = senders[kind];
      if (sender) await sender.replaceTrack(track ?? null).catch(() => {}); // the connection was closed
      else if (track) senders[kind] = pc.addTrack(track, this.stream);
    }
  }

  #endScreen() {
    for (const track of this.screen?.getTracks() ?? []) track.stop();
    this.screen = undefined;
  }
}

/**
 * @param {unknown} error
 * @param {MediaStream} stream the tracks that could be opened nevertheless
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
