/** The people in the row of a file: who sends it, and how far each person is who receives it. */

import { recipientWords } from "./files-words.js";
import { isolate } from "./names.js";
import { setText } from "./view.js";

/**
 * Shows who sends a file, in a room.
 * @param {HTMLElement} row
 * @param {import("./exchange.js").Exchange | undefined} exchange
 */
export function showSender(row, exchange) {
  const from = row.querySelector(".from") ?? document.createElement("span");
  from.className = "from";
  setText(from, exchange?.name ? `from ${isolate(exchange.name)}` : "");
  if (exchange?.name && !from.isConnected) row.querySelector(".what")?.append(from);
}

/**
 * Shows the people who are offered a file, on request.
 * @param {HTMLElement} row
 * @param {import("./shares.js").Share} share
 */
export function showRecipients(row, { name, people, to }) {
  let details = row.querySelector("details");
  if (to !== undefined || people.length === 0) return details?.remove();
  if (!details) {
    details = document.createElement("details");
    details.className = "recipients";
    const summary = document.createElement("summary");
    summary.textContent = "Each person";
    summary.setAttribute("aria-label", `Each person: ${name}`);
    details.append(summary, document.createElement("ul"));
    row.append(details);
  }
  const list = /** @type {HTMLElement} */ (details.querySelector("ul"));
  while (list.children.length > people.length) list.lastElementChild?.remove();
  for (const [i, recipient] of people.entries()) {
    let line = list.children[i];
    if (!line) {
      line = document.createElement("li");
      line.append(document.createElement("bdi"), " ", document.createElement("span"));
      list.append(line);
    }
    setText(line.querySelector("bdi"), recipient.exchange.name || "Someone");
    setText(line.querySelector("span"), recipientWords(recipient) ?? "");
  }
}
