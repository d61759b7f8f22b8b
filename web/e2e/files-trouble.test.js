/** How the files page handles and explains problems. */

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { startServer } from "./server.js";
import { launch, person, reaches, problemText, problemEnds, until } from "./browser.js";
import { cleanUp } from "./hooks.js";
import { MB, areConnected, arrives, becomes, chooses, choosesNamed, download, makeFile, pair, press, row, showsText } from "./files.js";

let browser, server;

before(async () => {
  [server, browser] = await Promise.all([
    startServer(),
    launch({ camera: false, flags: ["--host-resolver-rules=MAP inbox.test 127.0.0.1"] }),
  ]);
});
cleanUp(() => browser, { provoked: true });

test("the page says that nobody is there yet, and connects when someone comes", async () => {
  const [alice, bob] = await Promise.all([person(browser), person(browser)]);
  const link = new URL("files#to=late", server.local).href;
  await bob.goto(link);
  assert.match(await problemText(bob, "no-such-inbox"), /there yet/);
  await reaches(bob, "calling");
  await alice.addInitScript((scope) => {
    sessionStorage.setItem(`inbox:files:${scope}`, JSON.stringify({ id: "late", password: "late", running: true }));
  }, "/inbox");
  await alice.goto(`${server.local}files`);
  await areConnected(alice, bob);
  await problemEnds(bob, "no-such-inbox");
});

test("a third visitor is turned away, and can connect once one of the two has left for good", async () => {
  const [alice, bob] = await pair(browser, server);
  const carol = await person(browser);
  const link = new URL(`files#to=${await alice.evaluate(() => JSON.parse(sessionStorage.getItem("inbox:files:/inbox")).id)}`, server.local).href;
  await carol.goto(link);
  await reaches(carol, "ended");
  assert.match(await carol.innerText("#meet-text"), /someone else/);
  assert.equal(await carol.innerText("#meet-title"), "They are connected to someone else");
  assert.doesNotMatch(await carol.innerText("body"), /Disconnected|[Tt]he call has ended/);
  assert.equal(await alice.getAttribute("body", "data-state"), "connected");

  await bob.close({ runBeforeUnload: true });
  await reaches(alice, "reconnecting");
  assert.match(await alice.innerText("#meet-text"), /continue by themselves/);
  // It takes a moment to distinguish a closed page from a lost network.
  await until(carol, () => {
    const { state } = document.body.dataset;
    if (state === "ended") document.getElementById("again")?.click();
    return state === "connected";
  });
  await areConnected(alice, carol);
});

test("after a disconnect, the other side shows it, the link still works, and a new one can be made", async () => {
  const [alice, bob] = await pair(browser, server);
  const file = makeFile("waits.bin", 1000);
  await chooses(alice, file);
  await becomes(bob, file, "offered");
  await bob.click("#leave");
  await reaches(bob, "ended");
  await reaches(alice, "ended");
  assert.match(await alice.innerText("#meet-text"), /disconnected.*link still works/);
  assert.equal(await row(bob, file).getByRole("button", { name: "Receive: " }).count(), 0);
  await bob.click("#again");
  await areConnected(alice, bob);
  await press(bob, file, "Receive");
  await becomes(alice, file, "done");

  await alice.click("#leave");
  await reaches(bob, "ended");
  await bob.click("#new-link");
  await reaches(bob, "waiting");
  await alice.goto("about:blank");
  await alice.goto(await bob.inputValue("#link"));
  await areConnected(alice, bob);
});

test("a duplicated tab asks before it takes the transfers over, and the first tab can take them back", async () => {
  const [first, bob] = await pair(browser, server);
  const file = makeFile("belongs.bin", 1000);
  await chooses(bob, file);
  await becomes(first, file, "offered");
  const duplicate = async () => {
    const opened = first.context().waitForEvent("page");
    await first.evaluate(() => window.open(location.href));
    const page = await opened;
    await reaches(page, "elsewhere");
    return page;
  };
  const second = await duplicate();
  assert.equal(await first.getAttribute("body", "data-state"), "connected");
  assert.match(await second.innerText("#meet"), /open in another tab/);
  assert.equal(await second.isVisible("#choose-files"), false);
  await second.click("#move-here");
  await areConnected(second, bob);
  await reaches(first, "stopped");
  assert.match(await problemText(first, "replaced"), /[Aa]nother tab/);
  await becomes(second, file, "offered");
  await first.click("[data-problem='replaced'] button");
  await areConnected(first, bob);
  await reaches(second, "stopped");

  // A duplicated tab can also start with a new link and empty lists.
  const third = await duplicate();
  await third.click("#new-link");
  await reaches(third, "waiting");
  assert.equal(await third.locator(".transfer").count(), 0);
  assert.notEqual(await third.inputValue("#link"), await first.inputValue("#link"));
  assert.equal(await first.getAttribute("body", "data-state"), "connected");
});

test("with WebRTC switched off, the page says so and opens no inbox", async () => {
  for (const off of [
    () => delete window.RTCPeerConnection,
    () => (window.RTCPeerConnection = undefined),
    () => (window.RTCPeerConnection = class { constructor() { throw new DOMException("forbidden", "NotAllowedError"); } }),
  ]) {
    const alice = await person(browser);
    await alice.addInitScript(off);
    const asked = [];
    alice.on("request", (request) => asked.push(new URL(request.url()).pathname));
    alice.on("websocket", (socket) => asked.push(new URL(socket.url()).pathname));
    await alice.goto(`${server.local}files#to=somebody`);
    await reaches(alice, "unable");
    assert.match(await problemText(alice, "no-webrtc"), /policy.*switched that off/);
    await alice.evaluate(() => (location.hash = "to=another"));
    assert.equal(await alice.isVisible("#choose-files"), false);
    assert.ok(!asked.includes("/inbox"), "an inbox was opened");
  }
});

test("names are typed, kept on the device and sent over the connection; ids are never shown", async () => {
  const [alice, bob] = await pair(browser, server);
  const ids = await Promise.all([alice, bob].map((page) => page.evaluate(() => JSON.parse(sessionStorage.getItem("inbox:files:/inbox")).id)));
  const friendly = await alice.locator("#meet-title", { hasText: /^Connected to \W?[A-Z][a-z]+ [A-Z][a-z]+\W?$/ });
  await friendly.waitFor();
  await bob.fill("#name", "  B\u202eob \n");
  await bob.press("#name", "Enter");
  await alice.locator("#meet-title", { hasText: /^Connected to \W?Bob\W?$/ }).waitFor();
  await chooses(alice, makeFile("named.bin", 10));
  await alice.locator("#outgoing-title", { hasText: "To" }).filter({ hasText: "Bob" }).waitFor();
  await bob.reload();
  await areConnected(alice, bob);
  assert.equal(await bob.inputValue("#name"), "Bob");
  await alice.locator("#status-text", { hasText: "Bob" }).waitFor();
  for (const page of [alice, bob]) for (const id of ids) assert.ok(!(await page.innerText("body")).includes(id), "an id is shown");
});

test("the panel says that the page behind a link is gone, and offers an own link", async () => {
  const bob = await person(browser);
  await bob.clock.install();
  await bob.goto(new URL("files#to=nobody-here", server.local).href);
  await bob.locator("#meet-title", { hasText: "Nobody is there yet" }).waitFor();
  assert.equal(await bob.locator("#notices li").count(), 0);
  assert.equal(await bob.innerText("#status-text"), "Waiting for them to open their page");
  await bob.clock.fastForward(31_000);
  await bob.locator("#meet-text", { hasText: "the link does not work any more" }).waitFor();
  assert.equal(await bob.innerText("#status-text"), "Nobody is there");
  await bob.click("#new-link");
  await reaches(bob, "waiting");
  assert.match(await bob.inputValue("#link"), /#to=/);
});

test("the own link and a broken link connect to nobody", async () => {
  const alice = await person(browser);
  await alice.goto(`${server.local}files`);
  await reaches(alice, "waiting");
  await alice.goto(await alice.inputValue("#link"));
  await problemText(alice, "own-link");
  await reaches(alice, "waiting");
  await alice.goto(`${server.local}files#to=a%3Ab`);
  await alice.reload();
  await problemText(alice, "broken-link");
});

test("transfers continue while the server is away", async () => {
  let mortal = await startServer();
  const [alice, bob] = await pair(browser, mortal);
  await mortal.kill();
  for (const page of [alice, bob]) assert.match(await problemText(page, "server-away"), /does not answer/);
  const file = makeFile("without.bin", 2 * MB);
  await chooses(alice, file);
  const arriving = download(bob);
  await press(bob, file, "Receive");
  await arrives(bob, file, arriving);
  mortal = await startServer([], { port: mortal.port });
  for (const page of [alice, bob]) await problemEnds(page, "server-away");
});

test("without a disk, files are kept in memory up to the stated limit", async () => {
  const [alice, bob] = await pair(browser, server, { receiver: () => delete FileSystemFileHandle.prototype.createWritable });
  const file = makeFile("memory.bin", 5 * MB);
  await chooses(alice, file);
  assert.match(await bob.innerText("#in-memory"), /512 MB/);
  const arriving = download(bob);
  await press(bob, file, "Receive");
  await arrives(bob, file, arriving);

  await alice.evaluate(() => {
    const files = new DataTransfer();
    const part = new Blob([new Uint8Array(16 * 2 ** 20)]);
    files.items.add(new File(Array(33).fill(part), "too large.bin"));
    document.getElementById("choose").files = files.files;
    document.getElementById("choose").dispatchEvent(new Event("change"));
  });
  const large = { name: "too large.bin" };
  await press(bob, large, "Receive");
  await becomes(bob, large, "cancelled");
  await showsText(bob, large, "not enough room");
  await showsText(alice, large, "not enough room");
});

test("accepted files reserve room: one that does not fit is refused before it begins", async () => {
  const [alice, bob] = await pair(browser, server, {
    sender: () => {
      // Ids of files whose first part was sent.
      window.begun = new Set();
      const { send } = RTCDataChannel.prototype;
      RTCDataChannel.prototype.send = function (data) {
        if (this.label === "files" && typeof data === "string") window.begun.add(JSON.parse(data).id);
        return send.call(this, data);
      };
    },
    receiver: () => {
      const { persist } = StorageManager.prototype;
      StorageManager.prototype.persist = function () {
        window.persists = (window.persists ?? 0) + 1;
        return persist.call(this);
      };
    },
  });
  const session = await bob.context().newCDPSession(bob);
  await session.send("Storage.overrideQuotaForOrigin", { origin: new URL(server.local).origin, quotaSize: 50 * MB });
  const files = ["a", "b", "c"].map((name) => makeFile(`${name} of 30 MB.bin`, 30 * MB));
  const small = makeFile("small.bin", 10 * MB);
  await chooses(alice, ...files, small);
  await becomes(bob, small, "offered");
  const arriving = download(bob);
  await bob.click("#accept-all");
  for (const file of files.slice(1)) {
    await becomes(bob, file, "cancelled");
    await showsText(bob, file, "not enough room");
    await showsText(alice, file, "not enough room");
  }
  await arrives(bob, files[0], arriving);
  await becomes(alice, small, "done");
  assert.equal(await alice.evaluate(() => window.begun.size), 2);
  assert.equal(await bob.evaluate(() => window.persists), 1);

  // Removing files frees their room.
  await bob.click("#clear-finished");
  await alice.click("#clear-finished");
  await until(bob, async () => (await navigator.storage.estimate()).usage < 10e6);
  await chooses(alice, files[1]);
  const again = download(bob);
  await press(bob, files[1], "Receive");
  await arrives(bob, files[1], again);
});

/** Harmful names, and how both lists show them. */
const NAMES = {
  "<img src=x onerror=alert(1)>.txt": "_img src=x onerror=alert(1)_.txt",
  "a\u202egpj.exe": "a_gpj.exe",
  "isolate\u2067gpj.exe": "isolate_gpj.exe",
  "mark\u200f\u061c.exe": "mark__.exe",
  "zero\u200b\u2060\ufeff.txt": "zero___.txt",
  "tag\u{e0041}.txt": "tag_.txt",
  "filler\u3164\u115f.txt": "filler__.txt",
  "control\u0000\u0085\n.txt": "control___.txt",
  "photo.jpg\u2003\u3000          .exe": "photo.jpg .exe",
  "..\\..\\up": "_.._up",
  "..": "file",
  "ends.txt. .": "ends.txt",
  "CON": "_CON",
  "nul.tar.gz": "_nul.tar.gz",
  "dec\u0061\u0301composed.txt": "dec\u00e1composed.txt",
  "family \u{1f468}\u200d\u{1f469}\u200d\u{1f467}.jpg": "family \u{1f468}\u200d\u{1f469}\u200d\u{1f467}.jpg",
  "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645.txt": "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645.txt",
};

test("a file name never becomes markup or a path, and hides nothing", async () => {
  const [alice, bob] = await pair(browser, server);
  await choosesNamed(alice, Object.keys(NAMES));
  await bob.locator(".transfer").nth(Object.keys(NAMES).length - 1).waitFor();
  for (const page of [alice, bob]) {
    assert.deepEqual(await page.locator(".transfer bdi").evaluateAll((all) => all.map((one) => one.textContent)), Object.values(NAMES));
    assert.equal(await page.locator("img[src=x]").count(), 0, "a name became markup");
    const attributes = await page.locator(".transfer [aria-label]").evaluateAll((all) => all.map((one) => one.getAttribute("aria-label")).join());
    assert.doesNotMatch(attributes, /[\u202a-\u202e\u2066-\u2069]/);
  }
  const arriving = download(bob);
  await bob.locator(".transfer .primary").first().click();
  assert.equal((await arriving).suggestedFilename(), "_img src=x onerror=alert(1)_.txt");
});

test("the receiver cleans names that the sender did not", async () => {
  const [alice, bob] = await pair(browser, server, { sender: () => {
    const send = RTCDataChannel.prototype.send;
    RTCDataChannel.prototype.send = function (data) {
      send.call(this, typeof data === "string" ? data.replace("raw.exe", "raw\\u202egpj.exe").replace("up.txt", "../up.txt").replace("half.txt", "\\ud83d.txt") : data);
    };
  } });
  await choosesNamed(alice, ["raw.exe", "up.txt", "half.txt"]);
  await bob.locator(".transfer").nth(2).waitFor();
  assert.deepEqual(await bob.locator(".transfer bdi").evaluateAll((all) => all.map((one) => one.textContent)), ["raw_gpj.exe", "_up.txt", "_.txt"]);
});

test("a long name is cut between characters, fits every file system, and keeps its type", async () => {
  const [alice, bob] = await pair(browser, server);
  const family = "\u{1f468}\u200d\u{1f469}\u200d\u{1f467}";
  await choosesNamed(alice, [`${family.repeat(100)}.jpeg`, `x${"\u{1f600}".repeat(120)}`, `${"\u65e5".repeat(300)}.pdf`, `${"e\u0301\u0323".repeat(200)}.txt`]);
  await bob.locator(".transfer").nth(3).waitFor();
  for (const page of [alice, bob]) {
    const names = await page.locator(".transfer bdi").evaluateAll((all) => all.map((one) => one.textContent));
    for (const name of names) {
      assert.ok(name.isWellFormed(), `${name} has half a character`);
      assert.ok(Buffer.byteLength(name) <= 240, `${name} is too long to be saved`);
    }
    assert.equal(names[0], `${family.repeat(12)}.jpeg`);
    assert.match(names[1], /^x(\u{1f600})+$/u);
    assert.deepEqual(names.slice(2).map((name) => name.slice(-4)), [".pdf", ".txt"]);
  }
});

test("malformed messages from the other side are ignored", async () => {
  const [alice, bob] = await pair(browser, server);
  const file = makeFile("after all.bin", 1000);
  // Malformed offers, parts and messages, followed by a file that arrives nevertheless.
  await alice.evaluate(() => {
    const channels = [];
    const create = RTCPeerConnection.prototype.createDataChannel;
    RTCPeerConnection.prototype.createDataChannel = function (...given) {
      const channel = create.apply(this, given);
      channels.push(channel);
      return channel;
    };
    window.channels = channels;
  });
  await alice.reload();
  await areConnected(alice, bob);
  await bob.evaluate(() => {
    const send = RTCDataChannel.prototype.send;
    window.nonsense = (label, data) => send.call(window.last[label], data);
    window.last = {};
    RTCDataChannel.prototype.send = function (data) {
      window.last[this.label] = this;
      return send.call(this, data);
    };
  });
  const back = makeFile("back.bin", 10);
  await chooses(bob, back);
  await press(alice, back, "Receive");
  await becomes(bob, back, "done");
  await bob.evaluate(() => {
    const id = "0".repeat(26);
    for (const words of ["", "null", "[]", "{", '{"type":"offer"}', '{"type":"offer","id":"../../../../../../../../up","name":"x","size":1,"partSize":65536}',
      JSON.stringify({ type: "offer", id, name: "x", size: -1, partSize: 65536 }), JSON.stringify({ type: "offer", id, name: "x", size: 1, partSize: 1 }),
      JSON.stringify({ type: "want", id, part: 1e9 }), JSON.stringify({ type: "have" }), JSON.stringify({ type: "done", id: {} }), '{"type":"media","camera":{}}']) {
      window.nonsense("words", words);
    }
    for (const part of ["x", "null", JSON.stringify({ id, part: 0, size: 1e12, digest: "" }), new Uint8Array(1000), JSON.stringify({ id, part: -1, size: 5, digest: "" })]) {
      window.nonsense("files", part);
    }
  });
  await chooses(bob, file);
  const arriving = download(alice);
  await press(alice, file, "Receive");
  await arrives(alice, file, arriving);
  assert.equal(await alice.locator(".transfer").count(), 2);
});

test("over plain HTTP with a host other than localhost, the page leads to https", async () => {
  const alice = await person(browser);
  await alice.goto(`${server.url.replace("127.0.0.1", "inbox.test")}files`);
  await reaches(alice, "insecure");
  const notice = await problemText(alice, "files-insecure");
  assert.match(notice, /over https/);
  assert.doesNotMatch(notice, /--tls/);
});
