/** The view of a room: who is there, the invitation, and whom the next files are for. */

import { hideCode } from "./codes.js";
import { isolate } from "./names.js";
import { element, setText } from "./view.js";

/**
 * @typedef {object} Room
 * @property {string} self this person's name
 * @property {{id: string, name: string, state: "connecting" | "connected" | "interrupted" | "elsewhere", failed: boolean}[]} people the
 *   others; the name is empty while it is unknown
 */

/** Whether this person wants to invite more people. */
let inviting = false;
/** How many others were there. */
let before = 0;

/** Shows a room. @param {Room | undefined} room undefined outside of one */
export function showRoom(room) {
  const others = room?.people ?? [];
  // Someone may have used the code.
  if (room && others.length > before) hideCode();
  if (others.length === 0) inviting = false;
  before = others.length;
  document.body.toggleAttribute("data-alone", room !== undefined && others.length === 0);
  element("people").hidden = room === undefined;
  for (const part of document.querySelectorAll("[data-for]")) {
    /** @type {HTMLElement} */ (part).hidden = (/** @type {HTMLElement} */ (part).dataset.for === "room") !== (room !== undefined);
  }
  // Once people are there, their files need the place.
  element("meet").toggleAttribute("data-folded", others.length > 0 && !inviting);
  element("invite-more").hidden = others.length === 0;
  element("invite-more").setAttribute("aria-expanded", String(inviting));
  element("sending-to").hidden = room === undefined;
  if (room) showPeople(room);
  showAim(others);
}

/** @param {Room} room */
function showPeople({ self, people }) {
  const lines = [
    { id: "", name: self, note: "you", state: "connected" },
    ...people.map(({ id, name, state, failed }) => ({
      id, name: name || "Someone", note: failed ? "cannot be connected so far" : { connecting: "connecting…", connected: "", interrupted: "reconnecting…", elsewhere: "on the call page" }[state], state: failed ? "failed" : state,
    })),
  ];
  const list = element("people");
  const kept = new Map([...list.children].map((line) => [/** @type {HTMLElement} */ (line).dataset.peer, line]));
  for (const [i, { id, name, note, state }] of lines.entries()) {
    const line = /** @type {HTMLElement} */ (kept.get(id) ?? document.createElement("li"));
    kept.delete(id);
    if (!line.firstChild) {
      line.dataset.peer = id;
      line.append(document.createElement("bdi"), " ", document.createElement("span"));
    }
    line.dataset.is = state;
    setText(line.querySelector("bdi"), name);
    setText(line.querySelector("span"), note === "" ? "" : `(${note})`);
    if (list.children[i] !== line) list.insertBefore(line, list.children[i] ?? null);
  }
  for (const line of kept.values()) line.remove();
}

/** @returns {HTMLSelectElement} */
const choice = () => element("to");

/** Shows whom files can go to. Someone who was chosen and has left stays chosen. @param {Room["people"]} others */
function showAim(others) {
  const select = choice();
  const chosen = select.selectedOptions[0];
  const options = [{ value: "", name: "Everyone in the room" }, ...others.map(({ id, name }) => ({ value: id, name: name || "Someone" }))];
  const isGone = chosen && !options.some(({ value }) => value === chosen.value);
  if (isGone) options.push({ value: chosen.value, name: chosen.dataset.name ?? "" });
  for (const [i, { value, name }] of options.entries()) {
    const option = [...select.options].find((one) => one.value === value) ?? new Option("", value);
    option.dataset.name = name;
    const text = value === "" ? name : isolate(name) + (isGone && value === chosen.value ? " (left)" : "");
    if (option.text !== text) option.text = text;
    if (select.options[i] !== option) select.insertBefore(option, select.options[i] ?? null);
  }
  while (select.options.length > options.length) select.options[select.options.length - 1].remove();
  select.value = chosen?.value ?? "";
}

/** @returns {import("./shares.js").Aim | undefined} the only person whom the next files are for; undefined for everyone */
export function aimOfChoice() {
  const { value, selectedOptions: [chosen] } = choice();
  return value === "" ? undefined : { peer: value, name: chosen.dataset.name ?? "" };
}

/** Aims at everyone, in a new room. */
export function resetAim() {
  choice().replaceChildren();
}

/** Wires the button that shows the invitation again, and the choice of a person. @param {() => void} show */
export function wireRoom(show) {
  choice().addEventListener("change", show);
  element("invite-more").addEventListener("click", () => {
    inviting = !inviting;
    show();
  });
}
