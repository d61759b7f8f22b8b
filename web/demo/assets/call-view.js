/** The call page's picture of what is going on. Everything from outside is set as text, never as markup. */

import { appendLinked } from "./links.js";
import { clearProblems, element, keepFocus, showProblem } from "./view.js";
import { stateWords } from "./words.js";

/** More lines than this are forgotten, oldest first. */
const MOST_LINES = 300;

/** The panel that belongs to a state. @type {Record<string, string>} */
const panels = { media: "opening", opening: "opening", waiting: "invite", calling: "calling", ringing: "ringing", ended: "over", stopped: "stopped", elsewhere: "elsewhere" };

/**
 * Shows a state: the words at the top, the panel, the buttons that can be used now.
 * @param {import("./words.js").State} state
 * @param {string} [name] the other side's, if it is known
 * @param {string} [title] of the state's panel, if it depends
 */
export function showState(state, name = "", title = "") {
  document.body.dataset.state = state;
  showName(name, title);
  element("setup").hidden = state !== "setup";
  element("unable").hidden = state !== "unable";
  element("room").hidden = state === "setup" || state === "unable";
  for (const panel of Object.values(panels)) element(panel).hidden = panels[state] !== panel;
  element("controls").hidden = !["waiting", "calling", "connecting", "connected", "reconnecting"].includes(state);
  const together = ["connecting", "connected", "reconnecting"].includes(state);
  element("fill").hidden = element("hang-up").hidden = !together;
  element("share-screen").hidden = !together || navigator.mediaDevices?.getDisplayMedia === undefined;
  element("opening-text").textContent = state === "media"
    ? "Your browser may ask whether this page can use camera and microphone."
    : "Your inbox is being opened.";
  /** @type {HTMLElement | null} */
  const panel = document.querySelector(".panel:not([hidden]) h2:not([hidden])");
  keepFocus(panel ?? element(element("setup").hidden ? "stage" : "setup-title"));
}

/**
 * Shows what the other side is called wherever it is named.
 * @param {string} name empty while it is unknown
 * @param {string} [title] of the state's panel, if it depends
 */
export function showName(name, title = "") {
  const state = /** @type {import("./words.js").State} */ (document.body.dataset.state);
  const words = stateWords(state, name, title);
  element("status-text").textContent = words;
  document.title = `${state === "setup" ? "Call" : words} · inbox`;
  for (const id of ["stand-in-text", "calling-name", "ringing-name"]) {
    element(id).textContent = name;
    element(id).hidden = name === "";
  }
}

/**
 * Adds a line to the log.
 * @param {"step" | "mine" | "theirs"} kind
 * @param {string} text
 * @param {{step?: string, at?: Date}} [options] step: its name, for a line that says what happened; at: when it was
 */
export function addLine(kind, text, { step, at: now = new Date() } = {}) {
  const log = element("log");
  const line = document.createElement("li");
  line.dataset.kind = kind;
  if (step) line.dataset.step = step;
  const words = document.createElement("bdi");
  appendLinked(words, text);
  const time = document.createElement("time");
  time.dateTime = now.toISOString();
  time.textContent = now.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const times = log.querySelectorAll("time");
  line.append(words);
  // The same minute is not told twice.
  if (times[times.length - 1]?.textContent !== time.textContent) line.append(time);
  log.append(line);
  while (log.childElementCount > MOST_LINES) log.firstElementChild?.remove();
  if (atEnd || kind === "mine") log.scrollTop = log.scrollHeight;
}

/** Whether the last line of the log is looked at; then it stays in sight when lines come and when room is taken. */
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
  text.placeholder = open ? "Write a message" : "Chat opens with the call";
  /** @type {HTMLButtonElement} */ (element("say")).disabled = !open;
  document.body.dataset.chat = open ? "open" : "closed";
}

/**
 * Shows our own picture and which of our buttons are pressed.
 * @param {import("./media.js").OwnMedia} media
 */
export function showOwn({ stream, screen }) {
  const own = /** @type {HTMLVideoElement} */ (element("own"));
  const [audio] = stream.getAudioTracks();
  const [video] = stream.getVideoTracks();
  // An empty stream would hold back the page's load event.
  const source = screen ?? (stream.active ? stream : null);
  if (own.srcObject !== source) own.srcObject = source;
  own.hidden = !screen && !(video?.enabled && video.readyState === "live");
  own.setAttribute("aria-label", screen ? "Your screen" : "You");
  element("own-off").hidden = !own.hidden;
  element("sharing").hidden = screen === undefined;
  document.body.toggleAttribute("data-screen", screen !== undefined);
  toggle("mute", audio, "Mute microphone", "Unmute microphone");
  toggle("camera-off", video, "Turn camera off", "Turn camera on");
  const sharing = screen !== undefined;
  const button = element("share-screen");
  button.setAttribute("aria-pressed", String(sharing));
  button.setAttribute("aria-label", sharing ? "Stop sharing the screen" : "Share the screen");
}

/**
 * @param {string} id
 * @param {MediaStreamTrack | undefined} track
 * @param {string} off what a press does while the track is on
 * @param {string} on
 */
function toggle(id, track, off, on) {
  const button = /** @type {HTMLButtonElement} */ (element(id));
  button.disabled = track === undefined;
  const pressed = track === undefined || !track.enabled;
  button.setAttribute("aria-pressed", String(pressed));
  button.setAttribute("aria-label", track === undefined ? `${off}: none is used` : pressed ? on : off);
}

/**
 * Shows and plays what the other side sends.
 * @param {MediaStream | undefined} stream undefined when there is no call
 */
export async function showRemote(stream) {
  const remote = /** @type {HTMLVideoElement} */ (element("remote"));
  if (stream === undefined) {
    remote.srcObject = null;
    return;
  }
  if (remote.srcObject !== stream) remote.srcObject = stream;
  try {
    await remote.play();
    clearProblems("silent");
  } catch (error) {
    if (error instanceof DOMException && error.name === "NotAllowedError") {
      showProblem("silent", { sound: () => showRemote(stream) });
    }
  }
}
