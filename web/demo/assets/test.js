/** The page /test: tries everything out, and says what it means. */

import { findings, verdict } from "./causes.js";
import { copy } from "./copy.js";
import { PATH_PROBLEMS } from "./failures.js";
import { probeDevices, probeIce, probeMailbox, probeServer } from "./probes.js";
import { reportOf } from "./report.js";
import { element } from "./view.js";
import { webrtcFault } from "./webrtc.js";
import { endings, problems } from "./words.js";

/** @type {import("./probes.js").Facts} */
let facts;
let found = /** @type {import("./causes.js").Finding[]} */ ([]);

const marks = { ok: "✓", note: "i", warning: "!", bad: "×" };

/** @param {string} words */
function say(words) {
  element("now").textContent = words;
}

function show() {
  found = findings(facts);
  element("findings").replaceChildren(...found.map(({ name, level, title, text }) => {
    const item = document.createElement("li");
    item.className = "card";
    item.dataset.finding = name;
    item.dataset.level = level;
    const mark = document.createElement("span");
    mark.className = "mark";
    mark.textContent = marks[level];
    mark.ariaHidden = "true";
    const heading = document.createElement("h2");
    heading.textContent = title;
    item.append(mark, heading);
    if (text) {
      const paragraph = document.createElement("p");
      paragraph.textContent = text;
      item.append(paragraph);
    }
    return item;
  }));
}

function showReport() {
  element("report-text").textContent = reportOf(facts, found, {
    browser: navigator.userAgent, page: location.href,
    addresses: /** @type {HTMLInputElement} */ (element("with-addresses")).checked,
  });
  element("report").hidden = false;
}

async function run() {
  document.body.dataset.state = "testing";
  element("again").hidden = element("report").hidden = true;
  element("devices").hidden = !window.isSecureContext;
  const heading = element("verdict");
  heading.textContent = "Testing the way to other people…";
  element("verdict-hint").hidden = false;
  delete /** @type {HTMLElement} */ (heading.parentElement).dataset.level;
  facts = { secure: window.isSecureContext };
  say("Asking the server");
  Object.assign(facts, await probeServer());
  if (facts.server === undefined) {
    say("Sending messages");
    facts.mailbox = await probeMailbox();
    show();
    facts.webrtc = webrtcFault();
    if (facts.webrtc === undefined) {
      say("Trying the relay");
      Object.assign(facts, await probeIce());
    }
  }
  show();
  const { level, title } = verdict(found);
  heading.textContent = title;
  element("verdict-hint").hidden = true;
  /** @type {HTMLElement} */ (heading.parentElement).dataset.level = level;
  say("Tested");
  element("again").hidden = false;
  showReport();
  document.body.dataset.state = "done";
}

element("again").addEventListener("click", run);
element("with-addresses").addEventListener("change", showReport);
element("copy").addEventListener("click", async () => {
  const copied = await copy(element("report-text").textContent ?? "");
  element("copied").textContent = copied ? "Copied." : "Mark the text and copy it yourself.";
});
element("devices").addEventListener("click", async () => {
  say("Asking for camera and microphone");
  facts.devices = await probeDevices();
  show();
  if (document.body.dataset.state === "done") showReport();
  say("Tested");
});

// A call that failed says how it ended, and the cause that it knows.
const known = new URLSearchParams(location.hash.slice(1));
const [ended, cause] = [known.get("ended"), known.get("cause")];
if (ended !== null && Object.hasOwn(endings, ended)) {
  const why = cause !== null && PATH_PROBLEMS.includes(cause) ? ` ${problems[cause].title}` : "";
  element("came-from").textContent = `Your call: ${endings[/** @type {keyof typeof endings} */ (ended)]}${why}`;
  element("came-from").hidden = false;
}
run();
