/** Parts of the view that the pages share. Text from outside is set as text, never as markup. */

import { actions, problems } from "./words.js";

/**
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id
 * @returns {T}
 */
export function element(id) {
  return /** @type {T} */ (document.getElementById(id));
}

/** Sets the status at the top, and the title of the tab. @param {string} words */
export function showStatus(words) {
  setText(element("status-text"), words);
  document.title = `${words} · inbox`;
}

/**
 * Sets a text unless it is the same already, so that screen readers do not read it again.
 * @param {Element | null} where
 * @param {string} text
 */
export function setText(where, text) {
  if (where && where.textContent !== text) where.textContent = text;
}

/** Makes screen readers read a text that does not appear in a live region. @param {string} words */
export function announce(words) {
  element("said").textContent = words;
}

/**
 * Returns an element that shows an expert's terms on request.
 * @param {string} text
 */
export function detailsOf(text) {
  const details = document.createElement("details");
  details.className = "more";
  const summary = document.createElement("summary");
  summary.textContent = "Details";
  const paragraph = document.createElement("p");
  paragraph.textContent = text;
  details.append(summary, paragraph);
  return details;
}

/**
 * Shows a problem as a notice at the top, unless it is shown already.
 * @param {string} name of a problem in words.js
 * @param {Partial<Record<import("./words.js").Problem["action"] & string, () => void>>} [doing] what its button does
 */
export function showProblem(name, doing = {}) {
  const notices = element("notices");
  if (notices.querySelector(`[data-problem="${name}"]`)) return;
  const { title, text, details, weight, action } = problems[name];
  const notice = document.createElement("li");
  notice.dataset.problem = name;
  if (weight) notice.dataset.weight = weight;
  const said = document.createElement("div");
  const words = document.createElement("p");
  const strong = document.createElement("strong");
  strong.textContent = title;
  words.append(strong, " ");
  for (const [i, part] of text.split("`").entries()) {
    const typed = document.createElement("code");
    typed.textContent = part;
    words.append(i % 2 === 0 ? part : typed);
  }
  said.append(words, ...(details ? [detailsOf(details)] : []));
  notice.append(said);
  const act = action && doing[action];
  if (act) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = actions[action];
    button.addEventListener("click", () => act());
    notice.append(button);
  }
  notices.append(notice);
}

/** Removes notices. @param {...string} names of problems that are over */
export function clearProblems(...names) {
  for (const name of names) element("notices").querySelector(`[data-problem="${name}"]`)?.remove();
}

export function clearAllProblems() {
  element("notices").replaceChildren();
}

/**
 * Moves the focus if its element has disappeared, so that the keyboard continues at a sensible place.
 * @param {HTMLElement} place
 */
export function keepFocus(place) {
  const focused = document.activeElement;
  if (focused && focused !== document.body && focused.checkVisibility()) return;
  place.focus({ preventScroll: true });
}
