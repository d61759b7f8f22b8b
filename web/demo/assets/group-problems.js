/** Shows why people in a room cannot be connected. */

import { failureInGroup } from "./failures.js";
import { clearProblems, showProblem } from "./view.js";
import { problems } from "./words.js";

/** The problems that the page shows, as names in words.js. @type {string[]} */
let shown = [];

/**
 * Shows each problem once, and removes those that are over.
 * @param {Iterable<import("./group.js").Person>} people
 * @param {Parameters<typeof showProblem>[1]} doing what the buttons of the problems do
 */
export function showGroupProblems(people, doing) {
  const found = [...people].map(({ error }) => failureInGroup(error) ?? "").filter((fault) => problems[fault]);
  for (const fault of found) showProblem(fault, doing);
  clearProblems(...shown.filter((fault) => !found.includes(fault)));
  shown = found;
}
