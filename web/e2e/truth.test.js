/** The call page showsText the truth, and shows and sends nothing before an answer. */

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, afterEach, before, test } from "node:test";
import { startServer, stopServers } from "./server.js";
import {
  areConnected, assertNoFaults, calls, closeBrowsers, launch, opens, person, reaches, problemText, problemEnds, sees, step, waits, writes,
} from "./browser.js";

let browser, restricted, server;

before(async () => {
  [server, browser, restricted] = await Promise.all([
    startServer(),
    launch(),
    // Under this policy, a page that was loaded without a proxy has no candidates.
    launch({ flags: ["--force-webrtc-ip-handling-policy", "--webrtc-ip-handling-policy=disable_non_proxied_udp"] }),
  ]);
});
after(async () => {
  await closeBrowsers();
  await stopServers();
});
afterEach(async () => {
  await Promise.all([browser, restricted].flatMap((one) => one.contexts()).map((context) => context.close()));
  assertNoFaults({ provoked: true });
});

/** Ways in which extensions and policies switch WebRTC off. */
const without = {
  "RTCPeerConnection is missing": () => delete window.RTCPeerConnection,
  "RTCPeerConnection is undefined": () => Object.defineProperty(window, "RTCPeerConnection", { value: undefined }),
  "its constructor throws": () => (window.RTCPeerConnection = class {
    constructor() {
      throw new DOMException("switched off by a policy", "NotAllowedError");
    }
  }),
  "it is a dummy": () => (window.RTCPeerConnection = class {}),
};

/** Counts requests to the server, and whether the page asked for a camera. */
async function counts(page) {
  const asked = [];
  page.on("request", (request) => /\/inbox(\?|$)/.test(request.url()) && asked.push(request.url()));
  page.on("websocket", (socket) => asked.push(socket.url()));
  await page.addInitScript(() => {
    if (navigator.mediaDevices) navigator.mediaDevices.getUserMedia = () => (window.asked = true);
  });
  return async () => ({ server: asked.length, camera: await page.evaluate(() => window.asked === true) });
}

for (const [name, remove] of Object.entries(without)) {
  test(`${name}: the page says so, and requests neither an inbox nor a camera`, async () => {
    const page = await person(browser);
    const asked = await counts(page);
    await page.addInitScript(remove);
    for (const path of ["call", "call#to=somebody"]) {
      await page.goto(server.local + path);
      await page.reload();
      await reaches(page, "unable");
      const text = await page.textContent("#unable");
      assert.match(text, /WebRTC/);
      assert.match(text, /another browser/);
      assert.doesNotMatch(text, /ICE/);
      assert.equal(await page.isVisible("#start"), false);
    }
    assert.deepEqual(await asked(), { server: 0, camera: false });
  });
}

test("when WebRTC is switched off in a waiting page, both sides show it within seconds", async () => {
  const [alice, bob] = await Promise.all([person(browser), person(browser)]);
  const link = await waits(alice, server.local, { wish: "none" });
  await alice.evaluate(() => delete window.RTCPeerConnection);
  await calls(bob, link, { wish: "none" });
  await reaches(bob, "ended");
  assert.match(await bob.innerText("#over"), /Their browser cannot make calls/);
  await problemText(alice, "no-webrtc");

  // The same in the calling page.
  await bob.evaluate(() => delete window.RTCPeerConnection);
  await bob.click("#again");
  await reaches(bob, "ended");
  assert.match(await bob.innerText("#over"), /This browser cannot make calls/);
});

test("an exception during setup ends the call on both sides with an explanation", async () => {
  const [alice, bob] = await Promise.all([person(browser), person(browser)]);
  const link = await waits(alice, server.local, { wish: "none" });
  await alice.evaluate(() => {
    RTCPeerConnection.prototype.createDataChannel = () => {
      throw new Error("no channels today");
    };
  });
  await calls(bob, link, { wish: "none" });
  await reaches(bob, "ended");
  assert.match(await bob.innerText("#over"), /Their page could not start the call/);
  await step(alice, "setup-failed");
  await reaches(alice, "waiting");
});

test("without any candidate, both sides show it within seconds, in plain words", async () => {
  // Without a relay: over TCP it would offer a path even under this policy.
  const bare = await startServer(["--turn", "off"]);
  for (const [caller, callee] of [[restricted, browser], [browser, restricted]]) {
    const [alice, bob] = await Promise.all([person(callee), person(caller)]);
    await calls(bob, await waits(alice, bare.local, { wish: "none" }), { wish: "none" });
    const [here, there] = caller === restricted ? [bob, alice] : [alice, bob];
    assert.match(await problemText(here, "no-candidates"), /blocks calls/);
    assert.doesNotMatch(await here.innerText("#notices"), /STUN|ICE/);
    assert.match(await here.textContent("#notices"), /STUN server cannot help/);
    await step(there, "no-candidates-there");
    await reaches(bob, "ended");
    assert.match(await bob.innerText("#over-title"), /could not be connected/);
    assert.doesNotMatch(await there.innerText("body"), /STUN|hung up/);
  }
});

test("a waiting page rings with a sound, connects only after the answer, and then stops ringing", async () => {
  const [alice, bob] = await Promise.all([person(browser), person(browser)]);
  await alice.addInitScript(() => {
    window.sounds = 0;
    const { start, stop } = AudioBufferSourceNode.prototype;
    AudioBufferSourceNode.prototype.start = function () {
      if (this.loop && this.context.state === "running" && this.buffer.getChannelData(0).some((value) => Math.abs(value) > 0.2)) window.sounds++;
      return start.call(this);
    };
    AudioBufferSourceNode.prototype.stop = function () {
      window.sounds--;
      return stop.call(this);
    };
  });
  await alice.goto(`${server.local}call`);
  await alice.click("#start");
  await reaches(alice, "waiting");
  await calls(bob, await alice.inputValue("#link"));
  await reaches(alice, "ringing");
  assert.match(await alice.title(), /is calling you/);
  assert.equal(await alice.evaluate(() => window.sounds), 1);
  await step(bob, "rings-there");
  assert.match(await bob.innerText("#calling-text"), /ringing on their side/);
  assert.deepEqual(await alice.evaluate(() => window.connections.filter(({ signalingState }) => signalingState !== "closed").length), 0);
  await alice.click("#answer");
  await areConnected(alice, bob);
  assert.equal(await alice.evaluate(() => window.sounds), 0);
  await Promise.all([sees(alice), sees(bob)]);
});

test("calls are answered automatically only on request, even after a reload", async () => {
  const [alice, bob, carol] = await Promise.all([1, 2, 3].map(() => person(browser)));
  await alice.goto(`${server.local}call`);
  assert.equal(await alice.isChecked("#auto"), false);
  const link = await waits(alice, server.local, { wish: "none" }); // answers automatically
  await alice.reload();
  await reaches(alice, "waiting");
  await calls(bob, link, { wish: "none" });
  await areConnected(alice, bob);

  const asks = await waits(carol, server.local, { ask: true, wish: "none" });
  await carol.reload();
  await reaches(carol, "waiting");
  await bob.click("#hang-up");
  await calls(bob, asks, { wish: "none" });
  await reaches(carol, "ringing");
  await bob.click("#give-up");
  await step(carol, "missed");
  await reaches(carol, "waiting");
  await reaches(bob, "ended");
  assert.match(await bob.innerText("#over-title"), /You stopped calling/);
});

test("a third visitor and a declined caller do not read that a call has ended", async () => {
  const [alice, bob, carol] = await Promise.all([1, 2, 3].map(() => person(browser)));
  const link = await waits(alice, server.local, { ask: true, wish: "none" });
  await calls(bob, link, { wish: "none" });
  await reaches(alice, "ringing");
  await alice.click("#decline");
  await step(alice, "refused");
  await reaches(bob, "ended");
  assert.match(await bob.innerText("#over-title"), /Your call was declined/);
  assert.match(await bob.title(), /Your call was declined/);
  assert.doesNotMatch(await bob.innerText("body"), /has ended/);
  await bob.click("#again");
  await reaches(alice, "ringing");
  await alice.click("#answer");
  await areConnected(alice, bob);

  await calls(carol, link, { wish: "none" });
  await reaches(carol, "ended");
  assert.match(await carol.innerText("#over-title"), /They are in another call/);
  assert.match(await carol.innerText("#over-text"), /a call is for two/);
  assert.doesNotMatch(await carol.innerText("body"), /has ended/);
  await writes(bob, alice, "we still talk");
});

test("the panel alone says that the page behind a link is closed, then gone, and offers an own link", async () => {
  const [alice, bob] = await Promise.all([person(browser), person(browser)]);
  await bob.clock.install();
  await calls(bob, new URL("call#to=gone", server.local).href, { wish: "none" });
  assert.match(await problemText(bob, "no-such-inbox"), /Nobody is there yet/);
  assert.equal(await bob.locator("#notices li").count(), 0);
  assert.doesNotMatch(await bob.innerText("body"), /Waiting for them to answer/);
  assert.match(await bob.innerText("#status"), /Nobody is there yet/);
  await bob.clock.runFor(52_000);
  await bob.waitForFunction(() => /Nobody is there$/.test(document.getElementById("calling-title").textContent));
  assert.match(await bob.innerText("#calling-text"), /Ask for a new link/);
  assert.match(await bob.innerText("#calling-time"), /(0:5|[1-9]:\d)\d/); // the clock of the panel

  await bob.click("#own-link");
  await reaches(bob, "waiting");
  assert.equal(new URL(bob.url()).hash, "");
  await calls(alice, await bob.inputValue("#link"), { wish: "none" });
  await reaches(bob, "ringing");
  await bob.click("#answer");
  await areConnected(alice, bob);
});

test("the page does not say that the server answers again while it is down", async () => {
  const mortal = await startServer(["--drain", "8s"]);
  const alice = await person(browser);
  await waits(alice, mortal.local, { wish: "none" });
  const back = alice.locator("#log [data-step='server-back']");
  // During the drain, the server still accepts connections.
  const stopped = mortal.stop();
  await alice.waitForSelector("[data-problem='server-away'], [data-problem='draining']");
  await stopped;
  for (let i = 0; i < 3; i++) await alice.evaluate(() => dispatchEvent(new Event("online")));
  await problemText(alice, "server-away");
  assert.equal(await back.count(), 0);
  const again = await startServer([], { port: mortal.port });
  await step(alice, "server-back");
  await problemEnds(alice, "server-away");
  assert.equal(await back.count(), 1);
  await again.stop();
});

for (const [problem, words, status, headers] of [
  ["proxy-auth", /network asks for a login/, 401, { "WWW-Authenticate": "Bearer" }],
  ["not-inbox", /Something else answers/, 200, {}],
]) {
  test(`${problem}: both pages say that something stands between them and the server`, async () => {
    let away = true;
    const gate = createServer(async (request, answer) => {
      const { url, method } = request;
      if (/\/inbox(\?|$)/.test(url) && !away) {
        const { authorization } = request.headers;
        const aborted = new AbortController();
        answer.on("close", () => aborted.abort());
        const given = await fetch(new URL(url, server.url), { method, signal: aborted.signal, headers: { authorization, accept: "application/json" } }).catch(() => {});
        if (!given) return answer.destroy();
        answer.writeHead(given.status, Object.fromEntries(given.headers)).end(Buffer.from(await given.arrayBuffer()));
        return;
      }
      if (/\/inbox(\?|$)/.test(url)) {
        answer.writeHead(status, { "Content-Type": "text/html", ...headers }).end("<h1>Log in</h1>");
        return;
      }
      const page = await fetch(new URL(url, server.url), { method });
      const copied = ["Content-Type", "Content-Security-Policy"].map((name) => [name, page.headers.get(name)]);
      answer.writeHead(page.status, Object.fromEntries(copied)).end(Buffer.from(await page.arrayBuffer()));
    });
    gate.on("upgrade", (_, socket) => socket.destroy());
    await new Promise((resolve) => gate.listen(0, "127.0.0.1", resolve));
    const through = `http://localhost:${gate.address().port}/`;
    const page = await person(browser);
    await opens(page, through, { wish: "none" });
    await reaches(page, "stopped");
    assert.match(await problemText(page, problem), words);
    assert.doesNotMatch(await page.innerText("#notices"), /keeps trying/);
    assert.equal(await page.locator("#log [data-step='inbox-open']").count(), 0);
    await page.goto(`${through}files`);
    assert.match(await problemText(page, problem), words);
    away = false;
    await page.click(`[data-problem="${problem}"] button`);
    await reaches(page, "waiting");
    // Once connected, the page keeps trying, since the problem may pass.
    away = true;
    gate.closeAllConnections();
    if (problem === "not-inbox") {
      assert.match(await problemText(page, "intruder"), /keeps trying/);
      away = false;
      await problemEnds(page, "intruder");
    }
    await page.context().close();
    gate.closeAllConnections();
    gate.close();
  });
}
