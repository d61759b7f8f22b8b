/** The view of the call page. Text from outside is set as text, never as markup. */

import { hideCode, showCodeFault } from "./codes.js";
import { invitations } from "./group-words.js";
import { appendLinked } from "./links.js";
import { clearProblems, detailsOf, element, keepFocus, showProblem, showStatus } from "./view.js";
import { stateWords } from "./words.js";

/** Maximum number of lines in the log. The oldest ones are removed. */
const MAX_LINES = 300;

/** Panels by state. @type {Record<string, string>} */
const panels = { media: "opening", opening: "opening", waiting: "invite", calling: "calling", ringing: "ringing", ended: "over", stopped: "stopped", elsewhere: "elsewhere" };

/**
 * Shows a state: the status at the top, the panel and the buttons that work in it.
 * @param {import("./words.js").State} state
 * @param {string} [name] the other person's name, if it is known
 * @param {string} [title] the panel's title, if it varies
 */
export function showState(state, name = "", title = "") {
  document.body.dataset.state = state;
  showName(name, title);
  element("setup").hidden = state !== "setup";
  element("unable").hidden = state !== "unable";
  element("room").hidden = state === "setup" || state === "unable";
  for (const panel of Object.values(panels)) element(panel).hidden = panels[state] !== panel;
  if (state !== "waiting") hideCode();
  if (state !== "setup") showCodeFault("");
  element("controls").hidden = !["waiting", "calling", "connecting", "connected", "reconnecting"].includes(state);
  document.body.toggleAttribute("data-tiles", document.body.dataset.call === "group" && ["connecting", "connected"].includes(state));
  const together = ["connecting", "connected", "reconnecting"].includes(state);
  element("fill").hidden = element("hang-up").hidden = !together;
  if (document.body.dataset.call === "group") element("fill").hidden = true; // tiles are always filled
  element("share-screen").hidden = !together || navigator.mediaDevices?.getDisplayMedia === undefined;
  showInvitation(false, { moveFocus: false });
  element("opening-text").textContent = state === "media"
    ? "Your browser may ask whether this page may use your camera and microphone. Allow it to be seen and heard."
    : "Connecting to the server…";
  /** @type {HTMLElement | null} */
  const panel = document.querySelector(".panel:not([hidden]) h2:not([hidden])");
  keepFocus(panel ?? element(element("setup").hidden ? "stage" : "setup-title"));
}

/** Words the panel with the link. @param {"two" | "group"} kind of call */
export function inviteTo(kind) {
  const { link, ...words } = invitations[kind];
  for (const [name, text] of Object.entries(words)) element(`invite-${name}`).textContent = text;
  element("link").setAttribute("aria-label", link);
}

/**
 * Opens or closes the panel with the link to a group call, while others are there.
 * @param {boolean} [open] by default, the opposite
 * @param {{moveFocus?: boolean}} [options] moveFocus: into the panel, or back to its button
 */
export function showInvitation(open = element("invite").hidden, { moveFocus = true } = {}) {
  const { state, call } = document.body.dataset;
  const button = element("add-people");
  button.hidden = call !== "group" || element("hang-up").hidden;
  button.setAttribute("aria-expanded", String(open));
  element("close-invite").hidden = state === "waiting";
  element("invite-stop").hidden = state !== "waiting";
  if (state === "waiting") return;
  element("invite").hidden = !open;
  if (!open) hideCode();
  if (!moveFocus) return;
  if (open) /** @type {HTMLElement} */ (document.querySelector("#invite h2:not([hidden])")).focus();
  else keepFocus(button);
}

/**
 * Shows the other person's name in the status, in the title of the tab and in the panels.
 * @param {string} name empty while it is unknown
 * @param {string} [title] the panel's title, if it varies
 */
export function showName(name, title = "") {
  const state = /** @type {import("./words.js").State} */ (document.body.dataset.state);
  showStatus(stateWords(state, name, title));
  if (state === "setup") document.title = "Call · inbox";
  for (const id of ["stand-in-text", "calling-name", "ringing-name"]) {
    element(id).textContent = name;
    element(id).hidden = name === "";
  }
}

/**
 * Adds a line to the log.
 * @param {"step" | "mine" | "theirs"} kind
 * @param {string} text
 * @param {{step?: string, author?: string, details?: string, at?: Date}} [options] step: the name of the event;
 *   author: of a message, for screen readers; details: an expert's terms; at: when it happened
 */
export function addLine(kind, text, { step, author, details, at: now = new Date() } = {}) {
  const log = element("log");
  const line = document.createElement("li");
  line.dataset.kind = kind;
  if (step) line.dataset.step = step;
  const words = document.createElement("bdi");
  // A step is an English sentence, even if it begins with a name from right to left.
  if (kind === "step") words.dir = "ltr";
  appendLinked(words, text);
  const time = document.createElement("time");
  time.dateTime = now.toISOString();
  time.textContent = now.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const times = log.querySelectorAll("time");
  if (author) {
    const who = document.createElement("span");
    who.dir = "auto";
    // In a call for two, the place of a message shows who wrote it.
    who.className = document.body.dataset.call === "group" && kind === "theirs" ? "author" : "visually-hidden";
    who.textContent = `${author}: `;
    line.append(who);
  }
  line.append(words);
  if (details) line.append(detailsOf(details));
  // Each minute appears once.
  if (times[times.length - 1]?.textContent !== time.textContent) line.append(time);
  log.append(line);
  while (log.childElementCount > MAX_LINES) log.firstElementChild?.remove();
  if (atEnd || kind === "mine") log.scrollTop = log.scrollHeight;
}

/** Whether the log shows its last line. It then stays in view when lines are added and when the log shrinks. */
let atEnd = true;
element("log").addEventListener("scroll", () => {
  const log = element("log");
  atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
});
new ResizeObserver(([{ target }]) => {
  if (atEnd) target.scrollTop = target.scrollHeight;
}).observe(element("log"));

/**
 * Opens or closes the chat.
 * @param {boolean} open
 */
export function showChat(open) {
  const text = element("text");
  if (!(text instanceof HTMLInputElement)) return;
  text.disabled = !open;
  text.placeholder = open ? "Write a message" : "Waiting to connect…";
  /** @type {HTMLButtonElement} */ (element("say")).disabled = !open;
  document.body.dataset.chat = open ? "open" : "closed";
}

/**
 * Shows our own video and the state of the buttons.
 * @param {import("./media.js").OwnMedia} media
 */
export function showOwn({ stream, screen }) {
  const own = /** @type {HTMLVideoElement} */ (element("own"));
  const [audio] = stream.getAudioTracks();
  const [video] = stream.getVideoTracks();
  // An empty stream would hold back the page's load event.
  const source = screen ?? (stream.active ? stream : null);
  const preview = /** @type {HTMLVideoElement} */ (element("preview-own"));
  if (own.srcObject !== source) own.srcObject = preview.srcObject = source;
  own.hidden = preview.hidden = !screen && !(video?.enabled && video.readyState === "live");
  element("look").hidden = !preview.hidden;
  element("own-tile").dataset.microphone = audio?.enabled && audio.readyState === "live" ? "on" : "off";
  own.setAttribute("aria-label", screen ? "Your screen" : "You");
  element("own-off").hidden = !own.hidden;
  element("sharing").hidden = screen === undefined;
  document.body.toggleAttribute("data-screen", screen !== undefined);
  toggle("mute", audio, "Mute microphone", "Unmute microphone");
  toggle("camera-off", video, "Turn camera off", "Turn camera on");
  const sharing = screen !== undefined;
  const button = element("share-screen");
  button.dataset.pressed = String(sharing);
  button.setAttribute("aria-label", sharing ? "Stop sharing your screen" : "Share your screen");
}

/**
 * @param {string} id
 * @param {MediaStreamTrack | undefined} track
 * @param {string} off the label while the track is on
 * @param {string} on the label while it is off
 */
function toggle(id, track, off, on) {
  const button = /** @type {HTMLButtonElement} */ (element(id));
  button.disabled = track === undefined;
  const pressed = track === undefined || !track.enabled;
  button.dataset.pressed = String(pressed);
  button.setAttribute("aria-label", track === undefined ? `${off} (none in use)` : pressed ? on : off);
}

/**
 * Plays the other person's video and sound.
 * @param {MediaStream | undefined} stream undefined when there is no call
 */
export async function showRemote(stream) {
  const remote = /** @type {HTMLVideoElement} */ (element("remote"));
  if (stream) return playVideo(remote, stream);
  remote.srcObject = null;
  remote.muted = false;
  delete remote.dataset.silent;
  clearProblems("silent");
}

/**
 * Plays another person's video and sound. If the browser wants a click before it plays
 * sound, the video plays without, and a notice asks for the click.
 * @param {HTMLVideoElement} video
 * @param {MediaStream} stream
 */
export async function playVideo(video, stream) {
  if (video.srcObject !== stream) video.srcObject = stream;
  try {
    await video.play();
  } catch (error) {
    if (video.muted || !(error instanceof DOMException) || error.name !== "NotAllowedError") return;
    video.muted = true;
    video.dataset.silent = "";
    showProblem("silent", { sound: allowSound });
    await playVideo(video, stream);
  }
}

function allowSound() {
  clearProblems("silent");
  for (const video of /** @type {NodeListOf<HTMLVideoElement>} */ (document.querySelectorAll("video[data-silent]"))) {
    delete video.dataset.silent;
    video.muted = false;
    if (video.srcObject instanceof MediaStream) playVideo(video, video.srcObject);
  }
}
