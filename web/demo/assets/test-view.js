/** The view of the test page. Text from outside is set as text, never as markup. */

import { verdict } from "./causes.js";
import { announce, detailsOf, element } from "./view.js";

/** Signs of the levels, and their names for screen readers. */
const marks = { ok: ["✓", "Good"], note: ["i", "Note"], warning: ["!", "Warning"], bad: ["×", "Problem"] };

/** Sets the status at the top. @param {string} words */
export function showStatus(words) {
  element("now").textContent = words;
}

/** Shows what was found so far. @param {import("./causes.js").Finding[]} found */
export function showFindings(found) {
  element("findings").replaceChildren(...found.map(({ name, level, title, text, details }) => {
    const item = document.createElement("li");
    item.className = "card";
    item.dataset.finding = name;
    item.dataset.level = level;
    const mark = document.createElement("span");
    mark.className = "mark";
    mark.role = "img";
    [mark.textContent, mark.ariaLabel] = marks[level];
    const heading = document.createElement("h2");
    heading.textContent = title;
    item.append(mark, heading);
    if (text) {
      const paragraph = document.createElement("p");
      paragraph.textContent = text;
      item.append(paragraph);
    }
    if (details) item.append(detailsOf(details));
    return item;
  }));
}

/** Shows that the test runs. */
export function showTesting() {
  document.body.dataset.state = "testing";
  element("again").hidden = element("report").hidden = true;
  element("devices").hidden = !window.isSecureContext;
  const heading = element("verdict");
  heading.textContent = "Testing whether calls work…";
  element("verdict-hint").hidden = false;
  delete /** @type {HTMLElement} */ (heading.parentElement).dataset.level;
}

/** Shows the verdict once the test is complete. @param {import("./causes.js").Finding[]} found */
export function showVerdict(found) {
  const { level, title } = verdict(found);
  const heading = element("verdict");
  heading.textContent = title;
  element("verdict-hint").hidden = true;
  /** @type {HTMLElement} */ (heading.parentElement).dataset.level = level;
  showStatus("Tested");
  announce(title);
  element("again").hidden = false;
  document.body.dataset.state = "done";
}

/** Shows the report. @param {string} text */
export function showReport(text) {
  element("report-text").textContent = text;
  element("report").hidden = false;
}
