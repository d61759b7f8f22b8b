/** The test page: probes everything a call needs, and explains the results. */

import { findings } from "./causes.js";
import { copy } from "./copy.js";
import { PATH_PROBLEMS } from "./failures.js";
import { probeDevices, probeIce, probeMailbox, probeServer } from "./probes.js";
import { reportOf } from "./report.js";
import { showFindings, showReport, showStatus, showTesting, showVerdict } from "./test-view.js";
import { announce, element } from "./view.js";
import { webrtcFault } from "./webrtc.js";
import { endings, problems } from "./words.js";

/** @type {import("./probes.js").Facts} */
let facts;
let found = /** @type {import("./causes.js").Finding[]} */ ([]);

function show() {
  found = findings(facts);
  showFindings(found);
}

function report() {
  showReport(reportOf(facts, found, {
    browser: navigator.userAgent, page: location.href,
    addresses: /** @type {HTMLInputElement} */ (element("with-addresses")).checked,
  }));
}

async function run() {
  showTesting();
  facts = { secure: window.isSecureContext };
  showStatus("Testing the server");
  Object.assign(facts, await probeServer());
  if (facts.server === undefined) {
    showStatus("Testing messages");
    facts.mailbox = await probeMailbox();
    show();
    facts.webrtc = webrtcFault();
    if (facts.webrtc === undefined) {
      showStatus("Testing calls");
      Object.assign(facts, await probeIce());
    }
  }
  show();
  report();
  showVerdict(found);
}

element("again").addEventListener("click", run);
element("with-addresses").addEventListener("change", report);
element("copy").addEventListener("click", async () => {
  const copied = await copy(element("report-text").textContent ?? "");
  element("copied").textContent = copied ? "Copied." : "This browser did not copy it. Select the text and copy it yourself.";
});
element("devices").addEventListener("click", async () => {
  showStatus("Asking for your camera and microphone");
  facts.devices = await probeDevices();
  show();
  if (document.body.dataset.state === "done") report();
  announce(found.filter(({ name }) => ["camera", "microphone"].includes(name)).map(({ title }) => title).join(" "));
  showStatus("Tested");
});

// The page of a failed call passes how it ended, and the cause if it is known.
const known = new URLSearchParams(location.hash.slice(1));
const [ended, cause] = [known.get("ended"), known.get("cause")];
if (ended !== null && Object.hasOwn(endings, ended)) {
  const why = cause !== null && PATH_PROBLEMS.includes(cause) ? ` ${problems[cause].title}` : "";
  element("came-from").textContent = `Your call: ${endings[/** @type {keyof typeof endings} */ (ended)]}${why}`;
  element("came-from").hidden = false;
}
run();
