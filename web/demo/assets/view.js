/** What both pages show in the same way. Everything from outside is set as text, never as markup. */

import { actions, problems } from "./words.js";

/**
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id
 * @returns {T}
 */
export function element(id) {
  return /** @type {T} */ (document.getElementById(id));
}

/** @param {string} words */
export function showStatus(words) {
  element("status-text").textContent = words;
}

/**
 * Shows what is wrong, or what was wrong with it last time.
 * @param {string} name of a problem in words.js
 * @param {Partial<Record<import("./words.js").Problem["action"] & string, () => void>>} [doing] what its button does
 */
export function showProblem(name, doing = {}) {
  const notices = element("notices");
  if (notices.querySelector(`[data-problem="${name}"]`)) return;
  const { title, text, weight, action } = problems[name];
  const notice = document.createElement("li");
  notice.dataset.problem = name;
  if (weight) notice.dataset.weight = weight;
  const words = document.createElement("p");
  const strong = document.createElement("strong");
  strong.textContent = title;
  words.append(strong, " ");
  for (const [i, part] of text.split("`").entries()) {
    const typed = document.createElement("code");
    typed.textContent = part;
    words.append(i % 2 === 0 ? part : typed);
  }
  notice.append(words);
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

/** @param {...string} names of problems that are none any more */
export function clearProblems(...names) {
  for (const name of names) element("notices").querySelector(`[data-problem="${name}"]`)?.remove();
}

export function clearAllProblems() {
  element("notices").replaceChildren();
}

/**
 * Who used the keyboard goes on in what took the place of what is gone.
 * @param {HTMLElement} place
 */
export function keepFocus(place) {
  const focused = document.activeElement;
  if (focused && focused !== document.body && focused.checkVisibility()) return;
  place.focus({ preventScroll: true });
}
