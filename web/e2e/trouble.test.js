/** How the call page handles and explains problems. */

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { startServer, stopServers } from "./server.js";
import {
  areConnected, assertNoFaults, calls, closeBrowsers, hears, launch, opens, person, reaches, problemText, problemEnds, sees,
  step, waits, walled, writes,
} from "./browser.js";

/** One browser with a camera, and one without devices. */
let browser, bare;
let server;

before(async () => {
  [server, browser, bare] = await Promise.all([
    startServer(),
    launch(),
    launch({ camera: false, flags: ["--host-resolver-rules=MAP inbox.test 127.0.0.1"] }),
  ]);
});
after(async () => {
  await closeBrowsers();
  await stopServers();
});
afterEach(async () => {
  await Promise.all([browser, bare].flatMap((one) => one.contexts()).map((context) => context.close()));
  assertNoFaults({ provoked: true });
});

/** Sends a request to an inbox, as another program. */
async function program(method, query, { id, password, body, accept } = {}) {
  return fetch(`${server.url}inbox${query}`, {
    method,
    body,
    headers: {
      Authorization: `Basic ${Buffer.from(`${id}:${password}`).toString("base64")}`,
      ...(accept && { Accept: accept }),
    },
  });
}

test("without a camera, a person still sees the other side, and the chat works", async () => {
  const [alice, bob] = await Promise.all([person(bare), person(browser)]);
  const link = await waits(alice, server.local);
  assert.match(await problemText(alice, "no-media"), /No camera and no microphone/);
  await calls(bob, link);
  await areConnected(alice, bob);
  await Promise.all([sees(alice), hears(alice)]);
  await bob.waitForSelector("body[data-their-camera='off']");
  await writes(alice, bob, "I see you");
  await writes(bob, alice, "I do not");
  await alice.click("[data-problem='no-media'] button");
  await problemText(alice, "no-media");
});

test("with camera and microphone denied, the page says how to allow them, and the chat works", async () => {
  const asking = await launch({ answers: false });
  const [alice, bob] = await Promise.all([person(asking), person(browser)]);
  const link = await waits(alice, server.local);
  assert.match(await problemText(alice, "media-denied"), /Allow them/);
  await calls(bob, link);
  await areConnected(alice, bob);
  await sees(alice);
  await writes(alice, bob, "no camera today");

  // The person allows them during the call.
  await alice.context().grantPermissions(["camera", "microphone"]);
  await alice.click("[data-problem='media-denied'] button");
  await problemEnds(alice, "media-denied");
  await bob.waitForSelector("body[data-their-camera='on']");
  await Promise.all([sees(bob), hears(bob)]);
  await asking.close();
});

test("over plain HTTP with a host other than localhost, the page leads to https, and the chat works", async () => {
  const [alice, bob] = await Promise.all([person(bare), person(bare)]);
  const link = await waits(alice, server.url.replace("127.0.0.1", "inbox.test"));
  assert.doesNotMatch(await problemText(alice, "insecure"), /--tls/);
  await alice.click("#copy-link");
  await alice.waitForSelector("#copied:has-text('Copied')");
  await calls(bob, link);
  await areConnected(alice, bob);
  await writes(bob, alice, "no camera, but words");
});

test("the page says that nobody is there yet, and the call succeeds when someone comes", async () => {
  const [alice, bob] = await Promise.all([person(browser), person(browser)]);
  await calls(bob, new URL("call#to=late", server.local).href, { wish: "none" });
  assert.match(await problemText(bob, "no-such-inbox"), /Nobody is there yet/);
  await reaches(bob, "calling");
  await opens(alice, server.local, { id: "late", wish: "none" }); // answers automatically
  await areConnected(alice, bob);
  await problemEnds(bob, "no-such-inbox");
});

test("while the server is away, a call continues; a waiting page recovers afterwards", async () => {
  let mortal = await startServer();
  const [alice, bob, carol, dave, eve] = await Promise.all([1, 2, 3, 4, 5].map(() => person(browser)));
  await calls(bob, await waits(alice, mortal.local, { wish: "none" }), { wish: "none" });
  const link = await waits(carol, mortal.local, { wish: "none" });
  await areConnected(alice, bob);
  await eve.goto(`${mortal.local}call`);

  await mortal.kill();
  await eve.click("#start");
  await problemText(eve, "server-away");
  await reaches(eve, "opening");
  await eve.click("#opening [data-leave]");
  await reaches(eve, "setup");
  await eve.click("#start");
  for (const page of [alice, bob, carol]) assert.match(await problemText(page, "server-away"), /does not answer/);
  await reaches(carol, "waiting");
  await writes(alice, bob, "without a server");
  mortal = await startServer([], { port: mortal.port });
  for (const page of [alice, bob, carol]) {
    await problemEnds(page, "server-away");
    await step(page, "server-back");
    await step(page, "inbox-reset");
  }
  await reaches(eve, "waiting");
  await calls(dave, link, { wish: "none" });
  await areConnected(carol, dave);

  // A server that shuts down properly announces it.
  await mortal.stop();
  await problemText(carol, "server-away");
  await dave.click("#hang-up");
  await reaches(carol, "ended");
});

test("when a second tab takes over, the first one stops and sends no more requests", async () => {
  const [first, bob] = await Promise.all([person(browser), person(browser)]);
  const link = await waits(first, server.local, { wish: "none" });
  const opened = first.context().waitForEvent("page");
  await first.evaluate(() => window.open(location.href));
  const second = await opened;
  await second.click("#move-here");
  await reaches(first, "stopped");
  assert.match(await problemText(first, "replaced"), /[Aa]nother tab/);
  let asked = 0;
  first.on("request", () => asked++);
  await reaches(second, "waiting");
  await calls(bob, link, { wish: "none" });
  await areConnected(second, bob);
  await writes(bob, second, "only one of you");
  assert.equal(asked, 0);
  assert.equal(await second.locator("#notices li").count(), 0);

  await first.click("[data-problem='replaced'] button");
  await reaches(first, "waiting");
  await problemText(second, "replaced");
  await reaches(second, "stopped");
});

test("when the id is taken, another one can be chosen", async () => {
  assert.equal((await program("GET", "?wait=0", { id: "taken", password: "by me" })).status, 204);
  const alice = await person(browser);
  let asked = false;
  alice.on("dialog", () => (asked = true));
  await alice.goto(`${server.local}call`);
  await alice.click("#link-details summary");
  await alice.fill("#id", "taken");
  await alice.check("input[value='none']", { force: true });
  await alice.click("#start");
  await reaches(alice, "setup");
  assert.match(await problemText(alice, "unauthorized"), /Choose another ending/);
  assert.equal(asked, false);
  await alice.click("#new-id");
  await alice.click("#start");
  await reaches(alice, "waiting");
  assert.equal(await alice.locator("#notices li").count(), 0);
});

test("an invalid id is rejected before any request", async () => {
  const alice = await person(browser);
  await alice.goto(`${server.local}call`);
  await alice.click("#link-details summary");
  for (const [id, fault] of [["a:b", /colon/], [" a", /space/], ["é".repeat(257), /too long/]]) {
    await alice.fill("#id", id);
    await alice.click("#start");
    assert.match(await alice.innerText("#id-error"), fault);
    await reaches(alice, "setup");
  }
  await alice.goto(`${server.local}call#to=a%3Ab`);
  await problemText(alice, "broken-link");
});

test("when the other inbox is full, the page waits and then continues", async () => {
  const bob = { id: "full", password: "of mail" };
  await program("GET", "?wait=0", bob);
  const sends = Array.from({ length: 100 }, (_, i) =>
    program("POST", "?to=full", { id: `spammer${i % 2}`, password: "x", body: `${i}` }));
  for (const answer of await Promise.all(sends)) assert.equal(answer.status, 200);
  const alice = await person(browser);
  // The SDK retries for half a minute by itself.
  await alice.clock.install();
  await calls(alice, new URL("call#to=full", server.local).href, { wish: "none" });
  await reaches(alice, "calling");
  for (let tries = 0; tries < 60 && await alice.locator("[data-problem='inbox-full']").count() === 0; tries++) {
    await alice.clock.runFor(2000);
  }
  await problemText(alice, "inbox-full");
  const { cursor, messages } = await (await program("GET", "?after=0", { ...bob, accept: "application/json" })).json();
  assert.equal(messages.length, 100);
  const next = await (await program("GET", `?after=${cursor}`, { ...bob, accept: "application/json" })).json();
  assert.equal(JSON.parse(next.messages[0].body).type, "offer");
  await alice.click("#give-up");
  await reaches(alice, "ended");
  await problemEnds(alice, "inbox-full");
  const last = await (await program("GET", `?after=${next.cursor}`, { ...bob, accept: "application/json" })).json();
  assert.equal(JSON.parse(last.messages.at(-1).body).type, "bye");
});

test("without a path, the page says what can help, and accepts STUN and TURN servers", async () => {
  const [alice, bob] = await Promise.all([walled(browser), walled(browser)]);
  await bob.clock.install();
  await calls(bob, await waits(alice, server.local, { wish: "none" }), { wish: "none" });
  await reaches(bob, "connecting");
  await bob.clock.runFor(12_000);
  await bob.waitForSelector("[data-problem='slow'], [data-problem='no-relay']");
  await bob.click("[data-problem] button");
  await reaches(bob, "setup");
  await bob.waitForSelector("#ice-urls:visible");
  await bob.fill("#ice-urls", "https://example.org");
  await bob.click("#start");
  assert.match(await bob.innerText("#ice-error"), /not the address of a STUN or TURN server/);
  await bob.fill("#ice-urls", "127.0.0.1:9\nturn:127.0.0.1:9");
  await bob.click("#start");
  assert.match(await bob.innerText("#ice-error"), /username/);
  await bob.fill("#ice-username", "bob");
  await bob.fill("#ice-credential", "secret");
  await bob.click("#start");
  await reaches(bob, "connecting");
  const used = await bob.evaluate(() => window.connections.at(-1).getConfiguration().iceServers.map(({ urls }) => urls.toString()));
  assert.deepEqual(used, ["stun:127.0.0.1:9", "turn:127.0.0.1:9"]);
  const later = await bob.context().newPage();
  await later.goto(`${server.local}call`);
  assert.equal(await later.inputValue("#ice-urls"), "127.0.0.1:9\nturn:127.0.0.1:9");
});

test("a connection that is lost for good is reported as lost, not as a person who left", async () => {
  const [alice, bob] = await Promise.all([person(browser), person(browser)]);
  await alice.clock.install();
  await calls(bob, await waits(alice, server.local, { wish: "none" }), { wish: "none" });
  await areConnected(alice, bob);
  await alice.evaluate(() => {
    const pc = window.connections.at(-1);
    Object.defineProperty(pc, "connectionState", { value: "failed" });
    pc.restartIce = () => {};
    pc.dispatchEvent(new Event("connectionstatechange"));
  });
  await reaches(alice, "reconnecting");
  await step(alice, "interrupted");
  await alice.clock.runFor(61_000);
  await reaches(alice, "ended");
  assert.match(await alice.innerText("#over-text"), /lost and could not be restored/);
});

test("opening the own link makes no call", async () => {
  const alice = await person(browser);
  const link = await waits(alice, server.local, { wish: "none" });
  await alice.goto(link);
  await problemText(alice, "own-link");
  await reaches(alice, "waiting");
});
