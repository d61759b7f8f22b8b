/**
 * Every state of every page, reached by calling the page's own view functions: quick, and without
 * a second person. The screenshots and the accessibility tests go through this list.
 */

/**
 * @typedef {object} State
 * @property {"" | "call" | "files" | "test" | "nothing/here"} page
 * @property {string} name
 * @property {(given?: any) => (void | Promise<void>)} [show] runs in the page; window.modules contains what its modules export
 * @property {any} [given] argument of show
 */

/** Draws a person on a canvas and returns it as a video stream. Runs in the page. */
function drawPerson(hue) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [960, 540];
  const context = canvas.getContext("2d");
  const paint = () => {
    context.fillStyle = `hsl(${hue} 30% 62%)`;
    context.fillRect(0, 0, 960, 540);
    context.fillStyle = `hsl(${hue + 30} 35% 35%)`;
    context.beginPath();
    context.arc(480, 640, 250, 0, 7);
    context.fill();
    context.fillStyle = `hsl(${hue - 20} 45% 75%)`;
    context.beginPath();
    context.arc(480, 250, 120, 0, 7);
    context.fill();
  };
  paint();
  setInterval(paint, 200);
  return canvas.captureStream(5);
}

/** Loads the modules of a page into window.modules. Runs in the page. */
async function loadModules(names) {
  const load = (name) => import(new URL(`assets/${name}.js`, document.baseURI).href);
  window.modules = Object.assign({}, ...(await Promise.all(names.map(load))));
}

const modules = {
  "call": ["view", "words", "call-view", "calling", "codes", "share", "failures", "tiles", "group-words"],
  "files": ["view", "words", "files-view", "codes", "share"],
  "test": ["causes", "report", "test-view"],
};

/** Shows a state of the call page that is between two people. Runs in the page. */
async function between(state) {
  const { showState, showName, showChat, addLine, stepWords, showRemote, showOwn, showStatus } = window.modules;
  showState(state, "Bob");
  showChat(state === "connected");
  document.getElementById("log").replaceChildren();
  for (const step of ["inbox-open", "called", "connecting"]) addLine("step", stepWords(step, step === "called" ? "Bob" : ""), { step });
  if (state === "connecting") return;
  addLine("step", "Connected directly, on the same network.", { step: "connected", details: "host to host, over udp" });
  await showRemote(window.drawPerson(200));
  showOwn({ stream: window.drawPerson(20), screen: undefined });
  document.body.dataset.remote = "picture";
  document.body.dataset.theirCamera = document.body.dataset.theirMicrophone = "on";
  showName("Bob");
  if (state === "connected") showStatus("Connected directly · Bob");
}

/** Shows a group call with some others. Runs in the page. @param {{name: string}[]} others and what else differs in their tiles */
function gathered(others) {
  const { addLine, groupStatus, groupStep, linkToRoom, showChat, showLink, showOwn, showState, showStatus, showTile, showVoice } = window.modules;
  document.body.dataset.call = "group";
  showLink(linkToRoom("call", "k3u9x7q2m5w8r1t6y4p0z9a2c7"));
  const state = others.some(({ state = "connected" }) => state === "connected") ? "connected" : "connecting";
  showState(state);
  showChat(true);
  document.getElementById("log").replaceChildren();
  showOwn({ stream: window.drawPerson(20), screen: undefined });
  for (const [i, other] of others.entries()) {
    addLine("step", groupStep(i === 0 ? "present" : "joined", other.name), { step: "joined" });
    showTile(`id ${i}`, { state: "connected", media: { camera: true, microphone: true, screen: false }, stream: window.drawPerson(70 + 55 * i), ...other });
  }
  showVoice("id 0", true);
  showStatus(groupStatus(state, others.length + 1));
  addLine("theirs", "Can you all see the plan?", { author: others[0].name });
}

/** Shows the offer of a code, even at an address that works on this computer only. Runs in the page. */
function offer(page, fault) {
  document.querySelector(".offer").hidden = false;
  if (fault) window.modules.showOfferFault(fault);
  else window.modules.showCode(page, "KXTRBM", 600_000);
  document.querySelector(".offer").scrollIntoView({ block: "nearest" });
}

/** Shows a typed code and its error. Runs in the page. */
function typeCode(fault) {
  document.getElementById("code").value = "kxt rbn";
  window.modules.showCodeFault(fault);
  document.getElementById("code-error").scrollIntoView({ block: "nearest" });
}

/** A call that has ended. @param {string} why */
const over = (why) => /** @type {const} */ ({
  page: "call", name: `over-${why}`, given: why,
  show(why) {
    const { showState, endingTitle, endingWords, againWords, offerTest, showProblem } = window.modules;
    showState("ended", "Bob", endingTitle(why));
    document.getElementById("over-title").textContent = endingTitle(why);
    document.getElementById("over-text").textContent = endingWords(why, "Bob");
    document.getElementById("again").textContent = againWords(why);
    offerTest(document.getElementById("find-out"), why);
    if (why === "no-path") showProblem("relay-unreachable", { advanced: () => {} });
  },
});

const endings = ["hung-up", "bye", "left", "lost", "cancelled", "busy", "declined", "no-answer", "gave-up", "not-sent",
  "missed", "no-path", "dropped", "no-candidates-there", "peer-failed", "peer-no-webrtc"];

/** A row of the files page. */
function item(i, more) {
  return { id: `item${i}`, name: `photo ${i}.jpg`, size: 3_456_789 + i, moved: 0, state: "offered", readable: true, wanted: true, rate: { now: 0 }, ...more };
}

/**
 * A state of the files page.
 * @param {string} name
 * @param {string} state
 * @param {object} [situation]
 * @param {object} [lists]
 * @param {"code" | "invitation"} [more] shown in a room
 */
const files = (name, state, situation = {}, lists = {}, more) => ({
  page: "files", name, given: { state, situation, lists, more },
  show({ state, situation, lists: { incoming = [], outgoing = [], total }, more }) {
    const { showState, showLists, showTotal, showLink, linkTo, linkToRoom } = window.modules;
    const connected = ["connected", "room"].includes(state);
    showLink((state === "room" ? linkToRoom : linkTo)("files", "k3u9x7q2m5w8r1t6y4p0z9a2c7"));
    for (const item of [...incoming, ...outgoing]) if (!item.people) item.exchange = { connected, here: true, peer: "", name: "", ...item.exchange };
    showState(state, { linked: false, ending: "bye", name: "", problem: "", gone: false, short: "", ...situation });
    const doing = {
      incoming: ({ state, saving, exchange }) => ({
        ...(state === "offered" && { ...(exchange.connected && { Receive() {} }), Decline() {} }), ...(state === "going" && { Cancel() {} }),
        ...(state === "damaged" && { "Receive again"() {}, Cancel() {} }),
        ...(state === "done" && { [saving === "failed" ? "Save" : "Save again"]() {}, Remove() {} }),
        ...(state === "cancelled" && { Remove() {} }),
      }),
      outgoing: ({ state }) => ({ ...(state === "unreadable" && { "Choose it again"() {} }), ...(["done", "cancelled"].includes(state) ? { Remove() {} } : { Cancel() {} }) }),
    };
    showLists({ incoming, outgoing, doing });
    showTotal(total, { connected, saving: 0 });
    const offered = incoming.filter(({ state }) => state === "offered").length;
    for (const id of ["accept-all", "accept-archive", "accept-directory"]) document.getElementById(id).hidden = offered < 2;
    if (more) document.getElementById("meet").removeAttribute("data-folded");
    if (more === "code") window.offer("files");
    for (const details of document.querySelectorAll(".recipients")) details.open = true;
  },
});

/** A room with these others. @param {...[name: string, state?: string]} others */
const room = (...others) => ({ room: { self: "Alice", people: others.map(([name, state = "connected"], i) => ({ id: `peer${i}`, name, state: state === "failed" ? "connecting" : state, failed: state === "failed" })) } });
const fourOthers = room(["Bob"], ["Carol"], ["דנה לוי"], ["", "connecting"]);

/** A file offered to a room. @param {number} i @param {object} more @param {...object} people the transfers to each person */
const share = (i, more, ...people) => item(i, {
  choices: [{}], rate: { now: 0, left: 0 }, ...more,
  people: people.map((one, n) => ({ item: item(i, one), exchange: { connected: true, here: one.here !== false, peer: `peer${n}`, name: ["Bob", "Carol", "דנה לוי", "Dave"][n] } })),
});

const together = { name: "Bob", short: "Connected directly" };

/** The others in a group call. */
const names = ["Bob", "Zoë 👩‍🚀", "דנה", "A person with a rather long name, 40 of it", "Witty Wren"];

/** A group call. @param {string} name @param {object[]} others what differs in their tiles */
const group = (name, others) => ({
  page: /** @type {const} */ ("call"), name: `group-${name}`, given: others.map((other, i) => ({ name: names[i], ...other })), show: gathered,
});

const away = { camera: false, microphone: false, screen: false };

/** The test page with the findings of some facts. @param {string} name @param {object} facts */
const tested = (name, facts) => ({
  page: "test", name, given: facts,
  show(facts) {
    const { findings, reportOf, showFindings, showReport, showVerdict } = window.modules;
    const found = findings(facts);
    showFindings(found);
    showReport(reportOf(facts, found, { browser: navigator.userAgent, page: location.href, addresses: false }));
    showVerdict(found);
  },
});

const relay = (more) => ({ url: "turn:relay.example:3478?transport=udp", candidates: [], errors: [], complete: true, ...more });
const mailbox = { poll: "ok", longPoll: "ok", stream: "ok", socket: "ok" };

/** @type {State[]} */
export const states = [
  { page: "", name: "start" },
  { page: "nothing/here", name: "missing" },

  { page: "call", name: "start" },
  { page: "call", name: "start-open", show() { for (const details of document.querySelectorAll("#setup details")) details.open = true; } },
  { page: "call", name: "start-linked", show() {
    location.hash = "#to=k3u9x7q2m5w8r1t6y4p0z9a2c7";
    return new Promise((resolve) => setTimeout(resolve, 50));
  } },
  { page: "call", name: "start-wrong-code", show() { window.typeCode("no-such-code"); } },
  { page: "call", name: "asking", show() { window.modules.showState("media"); } },
  { page: "call", name: "refused", show() {
    window.modules.showState("waiting");
    window.modules.showLink(window.modules.linkTo("call", "k3u9x7q2m5w8r1t6y4p0z9a2c7"));
    window.modules.showProblem("media-denied", { media() {} });
  } },
  { page: "call", name: "waiting", show() {
    window.modules.showState("waiting");
    window.modules.showLink(window.modules.linkTo("call", "k3u9x7q2m5w8r1t6y4p0z9a2c7"));
    window.modules.addLine("step", window.modules.stepWords("inbox-open", ""), { step: "inbox-open" });
  } },
  { page: "call", name: "waiting-code", show() {
    window.modules.showState("waiting");
    window.modules.showLink(window.modules.linkTo("call", "k3u9x7q2m5w8r1t6y4p0z9a2c7"));
    window.offer("call");
  } },
  { page: "call", name: "waiting-no-code", show() {
    window.modules.showState("waiting");
    window.modules.showLink(window.modules.linkTo("call", "k3u9x7q2m5w8r1t6y4p0z9a2c7"));
    window.offer("call", "too-many-codes");
  } },
  { page: "call", name: "calling", show() {
    window.modules.showState("calling");
    window.modules.beginCalling(() => {});
    window.modules.setProgress("rings");
  } },
  { page: "call", name: "calling-nobody", show() {
    window.modules.showState("calling", "", "Nobody is there yet");
    window.modules.beginCalling(() => {});
    window.modules.setProgress("no-such-inbox");
  } },
  { page: "call", name: "ringing", show() {
    window.modules.showState("ringing", "Bob");
    document.getElementById("ringing-text").textContent = window.modules.answerWords("both");
  } },
  { page: "call", name: "connecting", given: "connecting", show: between },
  { page: "call", name: "connected", given: "connected", show: between },
  { page: "call", name: "chat", async show() {
    await window.between("connected");
    for (const [kind, text] of [["theirs", "Hello! Can you hear me?"], ["mine", "Yes, and I see you."], ["theirs", "The plan is at https://example.org/a/rather/long/path?with=parameters"],
      ["theirs", "שלום, מה שלומך?"], ["mine", "Good, thank you! 👋"]]) {
      window.modules.addLine(kind, text, { author: kind === "mine" ? "You" : "Bob" });
    }
  } },
  { page: "call", name: "sharing", async show() {
    await window.between("connected");
    window.modules.showOwn({ stream: new MediaStream(), screen: window.drawPerson(120) });
    document.body.dataset.theirMicrophone = "off";
  } },
  { page: "call", name: "their-screen", async show() {
    await window.between("connected");
    document.body.dataset.theirScreen = "on";
  } },
  { page: "call", name: "muted", async show() {
    await window.between("connected");
    document.body.dataset.theirCamera = "off";
    const off = window.drawPerson(20);
    off.getTracks()[0].enabled = false;
    window.modules.showOwn({ stream: off, screen: undefined });
  } },
  { page: "call", name: "reconnecting", given: "reconnecting", show: between },
  { page: "call", name: "away", async show() {
    await window.between("reconnecting");
    window.modules.showStatus(window.modules.awayWords("Bob"));
    window.modules.addLine("step", window.modules.stepWords("away", "Bob"), { step: "away" });
  } },
  { page: "call", name: "server-away", async show() {
    await window.between("connected");
    window.modules.showProblem("server-away");
  } },
  { page: "call", name: "devices", async show() {
    await window.between("connected");
    document.getElementById("choose-camera").append(new Option("HD Webcam (046d:0825)"));
    document.getElementById("choose-microphone").append(new Option("Default microphone"));
    document.getElementById("choose-speaker").append(new Option("Headphones"));
    document.getElementById("no-devices").hidden = true;
    document.getElementById("devices").showModal();
  } },
  ...endings.map(over),
  { page: "call", name: "group-lobby", show() {
    location.hash = "#room=k3u9x7q2m5w8r1t6y4p0z9a2c7";
    return new Promise((resolve) => setTimeout(resolve, 50));
  } },
  { page: "call", name: "group-picture", async show() {
    location.hash = "#room=k3u9x7q2m5w8r1t6y4p0z9a2c7";
    await new Promise((resolve) => setTimeout(resolve, 50));
    window.modules.showOwn({ stream: window.drawPerson(20), screen: undefined });
  } },
  { page: "call", name: "group-1", show() {
    document.body.dataset.call = "group";
    window.modules.inviteTo("group");
    window.modules.showState("waiting");
    window.modules.showLink(window.modules.linkToRoom("call", "k3u9x7q2m5w8r1t6y4p0z9a2c7"));
    window.modules.showOwn({ stream: window.drawPerson(20), screen: undefined });
  } },
  group("connecting", [{ state: "connecting", name: "" }]),
  ...[1, 2, 3, 4, 5].map((others) => group(String(others + 1), Array.from({ length: others }, () => ({})))),
  group("muted", [{ media: away }, { media: { ...away, microphone: true } }, {}]),
  group("apart", [{}, { state: "failed", name: "" }, { state: "slow", name: "" }, { state: "interrupted" }, { state: "interrupted", media: away }]),
  group("screen", [{}, { media: { camera: true, microphone: true, screen: true } }, {}, {}, {}]),
  { page: "call", name: "group-invite", given: [{ name: "Bob" }, { name: "Zoë" }], show(others) {
    window.gathered(others);
    window.modules.inviteTo("group");
    window.modules.showInvitation(true);
    window.offer("call");
  } },
  { page: "call", name: "group-full", show() {
    const { title, text, again } = window.modules.groupEndings.full;
    document.body.dataset.call = "group";
    window.modules.showState("ended", "", title);
    document.getElementById("over-title").textContent = title;
    document.getElementById("over-text").textContent = text;
    document.getElementById("again").textContent = again;
  } },
  { page: "call", name: "stopped", show() {
    window.modules.showState("stopped");
    window.modules.showProblem("replaced", { resume() {} });
  } },
  { page: "call", name: "elsewhere", show() { window.modules.showState("elsewhere"); } },
  { page: "call", name: "unable", show() {
    window.modules.showState("unable");
    document.getElementById("unable-reason").textContent = "RTCPeerConnection is missing.";
  } },

  files("waiting", "waiting"),
  { page: "files", name: "waiting-code", show() { window.offer("files"); } },
  { page: "files", name: "expired-code", show() { window.offer("files", "expired"); } },
  { page: "files", name: "wrong-code", show() { window.typeCode("no-such-code"); } },
  files("opening", "opening"),
  files("calling", "calling", { linked: true }),
  files("calling-nobody", "calling", { linked: true, problem: "no-such-inbox" }),
  files("connected", "connected", together),
  files("sending", "connected", together, {
    outgoing: [item(1, { state: "going", moved: 2_000_000, rate: { now: 900_000 } }), item(2, { state: "going" }), item(3), item(4, { state: "unreadable" })],
    total: { receives: false, sends: true, files: 3, done: 1, size: 10_000_000, moved: 4_000_000, rate: 900_000 },
  }),
  files("receiving", "connected", together, {
    incoming: [item(1, { state: "going", moved: 2_000_000, rate: { now: 900_000 } }), item(2), item(3), item(5, { name: "דוח שנתי 2025.pdf" }), item(4, { name: "Holiday", files: 126, members: { length: 126 } })],
    total: { receives: true, sends: false, files: 3, done: 1, size: 10_000_000, moved: 4_000_000, rate: 900_000 },
  }),
  files("sixty", "connected", together, { incoming: Array.from({ length: 60 }, (_, i) => item(i)) }),
  files("finished", "connected", together, {
    incoming: [item(1, { state: "done", saving: "given" }), item(2, { state: "done", saving: "failed" }), item(6, { state: "done", saving: "packed", place: "files.zip" })],
    outgoing: [item(3, { state: "done" }), item(4, { state: "cancelled", why: "declined" })],
  }),
  files("failed", "connected", together, { incoming: [item(1, { state: "damaged" }), item(2, { state: "cancelled", why: "no-room" })], outgoing: [item(3, { state: "unreadable" })] }),
  files("reconnecting", "reconnecting", { ...together, short: "", away: true }, { incoming: [item(1, { state: "going", moved: 2_000_000 })] }),
  files("ended", "ended", { linked: true }),
  files("failed-path", "ended", { linked: true, ending: "no-path" }),
  files("room-empty", "room", room()),
  files("room-code", "room", room(), {}, "code"),
  files("room", "room", fourOthers),
  files("room-long-names", "room", room(["Wolfeschlegelsteinhausenbergerdorff-Anna"], ["عبد الرحمن بن محمد"], ["Bob (Brave Otter)", "failed"], ["Bob (Calm Heron)", "interrupted"])),
  files("room-inviting", "room", fourOthers, {}, "invitation"),
  files("room-sending", "room", fourOthers, {
    outgoing: [
      share(1, { state: "going", moved: 2_000_000, rate: { now: 900_000, left: 2 } }, { state: "done" }, { state: "going", moved: 2_000_000, rate: { now: 900_000 } }, { state: "cancelled", why: "declined" }),
      share(2, { name: "דוח שנתי 2025.pdf" }, {}, {}, {}),
      share(3, { to: { peer: "peer0", name: "Bob" } }, { state: "going", moved: 1_000_000, rate: { now: 300_000 } }),
      share(4, { name: "Holiday", files: 126 }, {}, { here: false }, {}),
    ],
    total: { receives: false, sends: true, files: 3, done: 1, size: 10_000_000, moved: 4_000_000, rate: 900_000 },
  }),
  files("room-receiving", "room", fourOthers, {
    incoming: [item(1, { state: "going", moved: 2_000_000, rate: { now: 900_000 }, exchange: { peer: "peer0", name: "Bob" } }), item(2, { exchange: { peer: "peer1", name: "Carol" } }),
      item(3, { exchange: { peer: "peer2", name: "דנה לוי" } }), item(4, { exchange: { peer: "gone", name: "Erin", here: false, connected: false } })],
  }),
  files("room-finished", "room", fourOthers, {
    incoming: [item(1, { state: "done", saving: "given", exchange: { peer: "peer0", name: "Bob" } })],
    outgoing: [share(2, { state: "done" }, { state: "done" }, { state: "done" }, { state: "done" }), share(3, { state: "done" }, { state: "done" }, { state: "cancelled", why: "no-room" }, { here: false })],
  }),
  files("room-full", "full"),
  files("room-left", "outside"),
  files("elsewhere", "elsewhere"),
  files("stopped", "stopped"),

  { page: "test", name: "running" },
  tested("good", { secure: true, mailbox, iceStatus: 200, ice: [{ ...relay(), candidates: [{ type: "srflx", address: "203.0.113.7", port: 4000 }, { type: "relay", address: "198.51.100.1", port: 5000 }], self: { connected: true, ms: 240 } }] }),
  tested("warning", { secure: true, mailbox: { ...mailbox, socket: "failed", stream: "held" }, clock: 400, iceStatus: 200, ice: [relay({ errors: [{ code: 701, text: "timeout", address: "" }] }), relay({ url: "turns:relay.example:443", candidates: [{ type: "relay", address: "198.51.100.1", port: 5000 }], self: { connected: true, ms: 900 } })] }),
  tested("bad", { secure: true, mailbox, iceStatus: 200, ice: [relay({ errors: [{ code: 701, text: "timeout", address: "" }] })], devices: { camera: "ok", microphone: "NotAllowedError" } }),
];

/** Helpers that states use in the page. */
const helpers = `
window.drawPerson = ${drawPerson};
window.between = ${between};
window.gathered = ${gathered};
window.offer = ${offer};
window.typeCode = ${typeCode};
`;

/**
 * Shows a state.
 * @param {import("playwright-core").Page} page
 * @param {string} url of the server
 * @param {State} state
 */
export async function showState(page, url, { page: path, show, given }) {
  // The test page stays in its first step.
  if (path === "test") await page.route("**/readyz", () => {});
  await page.goto(`${url}${path}`);
  if (path === "files") await page.waitForSelector("body[data-state='waiting']");
  if (!show) return;
  await page.evaluate(loadModules, modules[path]);
  // As an expression, which the policy of the page on scripts does not concern.
  const source = String(show);
  const callee = /^(async )?(function|\()/.test(source) ? `(${source})` : `({ ${source} }).show`;
  await page.evaluate(`${helpers}; ${callee}(${JSON.stringify(given) ?? ""})`);
}
