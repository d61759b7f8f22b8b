/** Runs every block of docs/moving.md, with the real simple-peer. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, person } from "../e2e/browser.js";
import { cleanUp } from "../e2e/hooks.js";
import { startServer } from "../e2e/server.js";
import { aimed, blocks } from "./blocks.js";
import { bundle } from "./bundle.js";
import { pageWith, servePages } from "./pages.js";

const all = blocks("docs/moving.md");
const [through, main, relay, signaling, offer] = all.map(({ code }) => code);
let server, browser, pages;
const files = {};

before(async () => {
  [server, browser, pages] = await Promise.all([startServer(), launch({ camera: false, names: false }), servePages(files)]);
}, { timeout: 120_000 });
cleanUp(() => browser, { provoked: true });
after(() => pages?.close());

test("these tests know all of its blocks", () => {
  assert.deepEqual(all.map(({ language, name }) => `${language} ${name}`.trim()), ["js through.js", "js main.js", "js", "js signaling.js", "js"]);
});

/** Opens a page, and gathers what it logs. */
async function opened(address) {
  const page = await person(browser);
  page.lines = [];
  page.on("console", (message) => page.lines.push(message.text()));
  page.logs = async (pattern) => {
    for (;;) {
      const line = page.lines.find((line) => pattern.test(line));
      if (line) return line;
      await page.waitForEvent("console");
    }
  };
  await page.goto(address);
  return page;
}

test("simple-peer connects through inboxes, also when the callee opens its page later", async () => {
  files["peer.html"] = pageWith(await bundle("peer", { "through.js": through, "main.js": aimed(main, server) }, "main.js"));
  const alice = await opened(`${pages.url}peer.html`);
  const bob = await opened(`${pages.url}peer.html${await alice.logs(/^\?call=/)}`);
  await Promise.all([alice, bob].map((page) => page.logs(/^they say hello$/)));

  // The page of the one who is called opens after the call.
  const id = `late-${Date.now()}`;
  const caller = await opened(`${pages.url}peer.html?call=${id}`);
  files["late.html"] = pageWith(await bundle("late", { "through.js": through, "main.js": aimed(main, server).replace("id: randomId()", `id: ${JSON.stringify(id)}`) }, "main.js"));
  const called = await opened(`${pages.url}late.html`);
  await Promise.all([caller, called].map((page) => page.logs(/^they say hello$/)));
});

test("simple-peer gets the server's STUN and TURN servers", async () => {
  files["relay.html"] = pageWith(await bundle("relay", {
    "through.js": through,
    "main.js": aimed(`
      import { Inbox, randomId, randomPassword } from "@inbox/sdk/messaging";
      import { peerThrough } from "./through.js";
      const id = randomId(), password = randomPassword(), to = undefined;
      const inbox = new Inbox("http://localhost:3000/inbox", { id, password });
      ${relay}
      console.log("servers: " + JSON.stringify(peer._pc.getConfiguration().iceServers));
    `, server),
  }, "main.js"));
  const page = await opened(`${pages.url}relay.html`);
  assert.match(await page.logs(/^servers: /), /turn:/);
});

test("the code of a socket.io client connects with the adapter, and a stranger's message ends nothing", async () => {
  files["socket.html"] = pageWith(await bundle("socket", {
    "signaling.js": signaling,
    "main.js": aimed(`
      import { open } from "./signaling.js";
      import { Inbox, randomId, randomPassword } from "@inbox/sdk/messaging";
      const pc = new RTCPeerConnection();
      ${offer}
      console.log("I am " + signaling.id);
      pc.onconnectionstatechange = () => console.log(pc.connectionState);
      let peer;
      signaling.on("answer", (answer) => pc.setRemoteDescription(answer));
      globalThis.call = async (to) => {
        const stranger = new Inbox("http://localhost:3000/inbox", { id: randomId(), password: randomPassword() });
        for (const odd of ["text", null, 7, { event: "constructor" }, { event: ["offer"] }]) await stranger.send(to, odd, { wait: 10_000 });
        pc.createDataChannel("chat");
        await pc.setLocalDescription();
        while (pc.iceGatheringState !== "complete") await new Promise((resolve) => (pc.onicegatheringstatechange = resolve));
        await signaling.emit(to, "offer", pc.localDescription);
      };
    `, server),
  }, "main.js"));
  const [alice, bob] = await Promise.all([opened(`${pages.url}socket.html`), opened(`${pages.url}socket.html`)]);
  const id = (await alice.logs(/^I am /)).slice("I am ".length);
  await bob.evaluate((id) => call(id), id);
  await Promise.all([alice, bob].map((page) => page.logs(/^connected$/)));
});
