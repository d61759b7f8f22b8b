/** The tiles of a group call: one for each person, this one included. */

import { playVideo } from "./call-view.js";
import { useSpeaker } from "./devices.js";
import { placeAround, placeTiles } from "./grid.js";
import { element, setText } from "./view.js";
import { tileWords } from "./group-words.js";

/** Between tiles, in pixels. */
const GAP = 8;

/**
 * @typedef {"connecting" | "slow" | "connected" | "interrupted" | "failed"} TileState
 *
 * A person as a tile shows them.
 * @typedef {object} Shown
 * @property {string} name empty while it is unknown
 * @property {TileState} state
 * @property {{camera: boolean, microphone: boolean, screen: boolean}} [media] what the person sends, once known
 * @property {MediaStream} [stream]
 */

/** The tiles of the others by id, in the order in which they came. @type {Map<string, HTMLElement>} */
const tiles = new Map();

/**
 * Shows a person, in a new tile if they have none.
 * @param {string} id
 * @param {Shown} person
 */
export function showTile(id, { name, state, media, stream }) {
  const tile = tiles.get(id) ?? createTile(id);
  const video = /** @type {HTMLVideoElement} */ (tile.querySelector("video"));
  tile.dataset.state = state;
  tile.dataset.camera = media === undefined || media.camera || media.screen ? "on" : "off";
  tile.dataset.microphone = media && !media.microphone ? "off" : "on";
  const shares = String(media?.screen === true);
  const moved = tile.dataset.screen !== shares;
  tile.dataset.screen = shares;
  setText(tile.querySelector("bdi"), name || tileWords.unknown);
  setText(tile.querySelector(".tile-text"), tileWords[state]);
  video.setAttribute("aria-label", name || tileWords.unknown);
  if (stream && video.srcObject !== stream) playVideo(video, stream);
  if (moved) arrange();
}

/** @param {string} id */
export function removeTile(id) {
  const tile = tiles.get(id);
  if (!tile) return;
  tiles.delete(id);
  /** @type {HTMLVideoElement} */ (tile.querySelector("video")).srcObject = null;
  tile.remove();
  arrange();
}

export function removeTiles() {
  for (const id of [...tiles.keys()]) removeTile(id);
}

/** @param {string | undefined} id undefined for this person @param {boolean} speaks */
export function showVoice(id, speaks) {
  (id === undefined ? element("own-tile") : tiles.get(id))?.toggleAttribute("data-speaks", speaks);
}

/** @param {string} id */
function createTile(id) {
  const template = /** @type {HTMLTemplateElement} */ (element("tile"));
  const tile = /** @type {HTMLElement} */ (/** @type {Element} */ (template.content.firstElementChild).cloneNode(true));
  const video = /** @type {HTMLVideoElement} */ (tile.querySelector("video"));
  for (const event of ["resize", "emptied", "playing"]) {
    video.addEventListener(event, () => tile.toggleAttribute("data-picture", video.videoWidth > 0));
  }
  useSpeaker(video);
  tiles.set(id, tile);
  element("tiles").append(tile);
  arrange();
  return tile;
}

/** Places all tiles. A shared screen gets most of the room; this person's tile is the last one. */
function arrange() {
  const shown = [...tiles.values(), element("own-tile")];
  const { clientWidth: width, clientHeight: height } = element("tiles");
  const main = shown.findIndex(({ dataset }) => dataset.screen === "true");
  const boxes = main < 0 ? placeTiles(shown.length, { width, height }, GAP) : placeAround(shown.length, main, { width, height }, GAP);
  for (const [i, box] of boxes.entries()) {
    for (const side of /** @type {const} */ (["left", "top", "width", "height"])) shown[i].style[side] = `${box[side]}px`;
    shown[i].toggleAttribute("data-small", box.width < 190 || box.height < 130);
  }
}

new ResizeObserver(arrange).observe(element("tiles"));
