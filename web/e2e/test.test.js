/** The test page, with real faults. */

import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { createServer, request } from "node:http";
import { connect } from "node:net";
import { once } from "node:events";
import { after, afterEach, before, test } from "node:test";
import { startServer, stopServers } from "./server.js";
import { assertNoFaults, closeBrowsers, launch, person } from "./browser.js";

let browser, server;
const open = [];

before(async () => {
  [server, browser] = await Promise.all([
    startServer(["--turn-listen", ":0"]),
    launch({ names: false, camera: false }),
  ]);
});
after(async () => {
  for (const close of open) close();
  await closeBrowsers();
  await stopServers();
});
afterEach(async () => {
  await Promise.all(browser.contexts().map((context) => context.close()));
});

/**
 * Starts a proxy with faults in front of the server.
 * @param {object} [faults]
 * @param {(ice: any) => void} [faults.ice] changes the response of /ice
 * @param {(req: import("node:http").IncomingMessage) => "hold" | "refuse" | undefined} [faults.on]
 * @param {(headers: any) => void} [faults.headers] changes the headers of a response
 * @param {boolean} [faults.strip] rejects WebSockets
 */
async function proxy({ ice, on, headers = () => {}, strip = false } = {}) {
  const to = new URL(server.url);
  const front = createServer((req, res) => {
    const fault = on?.(req);
    if (fault === "refuse") return res.writeHead(504).end();
    const passed = request({ host: to.hostname, port: to.port, path: req.url, method: req.method, headers: { ...req.headers, "accept-encoding": "identity" } }, (answer) => {
      headers(answer.headers);
      const parts = [];
      if (fault === "hold" || (ice && req.url.startsWith("/ice"))) {
        answer.on("data", (part) => parts.push(part));
        answer.on("end", () => {
          const body = JSON.parse(Buffer.concat(parts).toString());
          ice(body);
          res.writeHead(answer.statusCode, { "content-type": "application/json" }).end(JSON.stringify(body));
        });
        return;
      }
      res.writeHead(answer.statusCode, answer.headers);
      answer.pipe(res);
    });
    passed.on("error", () => res.destroy());
    res.on("close", () => passed.destroy());
    req.pipe(passed);
  });
  front.on("upgrade", (req, socket, head) => {
    if (strip) return socket.end("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    const passed = connect(Number(to.port), to.hostname, () => {
      passed.write(`${req.method} ${req.url} HTTP/1.1\r\n${req.rawHeaders.flatMap((name, i, all) => (i % 2 ? [] : [`${name}: ${all[i + 1]}`])).join("\r\n")}\r\n\r\n`);
      passed.write(head);
      passed.pipe(socket).pipe(passed);
    });
    passed.on("error", () => socket.destroy());
    socket.on("error", () => passed.destroy());
  });
  front.listen(0, "127.0.0.1");
  await once(front, "listening");
  open.push(() => {
    front.closeAllConnections();
    front.close();
  });
  return `http://localhost:${front.address().port}/`;
}

/** Opens a UDP port that forwards some packets. @param {(packet: Buffer) => boolean} passes */
async function udpPort(port, passes) {
  const front = createSocket("udp4");
  const backs = new Map();
  front.on("message", (packet, { address, port: from }) => {
    if (!passes(packet)) return;
    if (!backs.has(from)) {
      const back = createSocket("udp4");
      back.on("message", (answer) => front.send(answer, from, address));
      backs.set(from, back);
      open.push(() => back.close());
    }
    backs.get(from).send(packet, port, "127.0.0.1");
  });
  front.bind(0, "127.0.0.1");
  await once(front, "listening");
  open.push(() => front.close());
  return front.address().port;
}

/** Changes the URLs of all ICE servers. */
function urlsOf(ice, change) {
  for (const one of ice.iceServers) one.urls = [one.urls].flat().map(change);
}

/** Returns the port in the URL of a relay. @param {string} url */
const portOf = (url) => Number(/:(\d+)(\?|$)/.exec(url)[1]);

/**
 * Opens the test page and waits for its result.
 * @param {string} url @param {{init?: () => void, on?: import("playwright-core").Browser}} [options]
 */
async function tests(url, { init, on = browser } = {}) {
  const page = await person(on);
  if (init) await page.addInitScript(init);
  await page.goto(new URL("test", url).href);
  await page.waitForSelector('body[data-state="done"]', { timeout: 90_000 });
  const found = await page.evaluate(() => Object.fromEntries([...document.querySelectorAll("[data-finding]")].map((item) => [item.dataset.finding, item.dataset.level])));
  return { page, found, title: await page.textContent("#verdict"), report: await page.textContent("#report-text") };
}

test("without faults, calls work, and the report contains addresses on request only", async () => {
  const { page, found, title, report } = await tests(server.local);
  assert.deepEqual(found, { mailbox: "ok", network: "ok", relay: "ok" });
  assert.equal(title, "Calls work from here.");
  assert.match(report, /turn:HOST:\d+\?transport=udp\n {2}relay \[address \d\]/);
  assert.doesNotMatch(report, /localhost|127\.0\.0\.1|198\.51\.100\.1|\d+\.\d+\.\d+\.\d+(?!.*Safari)/);
  await page.check("#with-addresses");
  assert.match(await page.textContent("#report-text"), /198\.51\.100\.1/);
  assertNoFaults();
});

test("a proxy that buffers streams, rejects WebSockets and cuts polls is detected", async () => {
  const url = await proxy({
    strip: true,
    on: (req) => (req.headers.accept === "text/event-stream" ? "hold" : req.url.includes("wait=2") ? "refuse" : undefined),
  });
  const { found } = await tests(url);
  assert.deepEqual(found, { "socket": "note", "stream": "note", "long-poll": "note", "slow-messages": "warning", "network": "ok", "relay": "ok" });
  assertNoFaults({ expected: /WebSocket connection|status of 504/ });
});

test("a network that blocks UDP is detected", async () => {
  const silent = await udpPort(0, () => false);
  const url = await proxy({ ice: (ice) => urlsOf(ice, (url) => (url.endsWith("transport=tcp") ? url : url.replace(/:\d+/, `:${silent}`))) });
  const { found, title } = await tests(url);
  assert.equal(found["udp-blocked"], "warning");
  assert.equal(found.relay, "ok");
  assert.equal(title, "Calls work from here, through the relay.");
});

test("a relay that refuses the server's credentials is detected", async () => {
  const url = await proxy({ ice: (ice) => ice.iceServers.forEach((one) => one.credential && (one.credential = "wrong")) });
  const { found, title } = await tests(url);
  assert.equal(found["relay-refused"], "bad");
  assert.equal(title, "Some calls will fail from here.");
});

test("a relay whose name does not resolve is detected", async () => {
  const url = await proxy({ ice: (ice) => urlsOf(ice, (url) => url.replace("localhost", "nowhere.invalid")) });
  const { found } = await tests(url);
  assert.equal(found.dns, "bad");
});

test("a relay that gives addresses but forwards nothing is detected", async () => {
  let port;
  const answer = await (await fetch(`${server.url}ice`, { headers: { Authorization: `Basic ${btoa("somebody:secret")}` } })).json();
  urlsOf(answer, (url) => (port = portOf(url)) && url);
  // CreatePermission and ChannelBind get no response.
  const deaf = await udpPort(port, (packet) => ![0x0008, 0x0009].includes(packet.readUInt16BE(0)));
  const url = await proxy({
    ice: (ice) => {
      ice.iceServers.forEach((one) => (one.urls = [one.urls].flat().filter((url) => !url.endsWith("transport=tcp"))));
      urlsOf(ice, (url) => url.replace(/:\d+/, `:${deaf}`).replace("?transport=udp", ""));
    },
  });
  const { found } = await tests(url);
  assert.equal(found["relay-failed"], "bad");
});

test("a relay that does not answer is detected", async () => {
  const url = await proxy({ ice: (ice) => urlsOf(ice, (url) => url.replace(/:\d+/, ":9")) });
  const { found } = await tests(url);
  assert.equal(found["relay-unreachable"], "bad");
});

test("a server without a relay, or without ICE servers, is detected", async () => {
  const only = await proxy({ ice: (ice) => (ice.iceServers = ice.iceServers.filter(({ username }) => !username)) });
  assert.equal((await tests(only)).found["no-relay"], "warning");
  const none = await proxy({ ice: (ice) => (ice.iceServers = []) });
  const { found, title } = await tests(none);
  assert.equal(found["no-ice"], "warning");
  assert.equal(title, "Calls work within this network.");
});

test("a wrong clock is detected", async () => {
  const url = await proxy({ headers: (headers) => (headers.date = new Date(Date.now() - 3_600_000).toUTCString()) });
  assert.equal((await tests(url)).found.clock, "warning");
});

test("a login page in place of the server is detected", async () => {
  const other = createServer((req, res) => (req.url === "/readyz" ? res.end("Welcome to our guest network") : fetch(`${server.url}${req.url.slice(1)}`).then(async (answer) => {
    res.writeHead(answer.status, { "content-type": answer.headers.get("content-type") });
    res.end(Buffer.from(await answer.arrayBuffer()));
  }))).listen(0, "127.0.0.1");
  await once(other, "listening");
  open.push(() => other.close());
  const { found, title } = await tests(`http://localhost:${other.address().port}/`);
  assert.deepEqual(found, { server: "bad" });
  assert.match(title, /^Calls do not work from here/);
});

test("a browser without WebRTC, or with restricted WebRTC, is detected", async () => {
  const { found, title } = await tests(server.local, { init: () => delete window.RTCPeerConnection });
  assert.equal(found["no-webrtc"], "bad");
  assert.equal(title, "Calls do not work in this browser.");
  const restricted = await launch({ camera: false, flags: ["--force-webrtc-ip-handling-policy", "--webrtc-ip-handling-policy=disable_non_proxied_udp"] });
  const url = await proxy({ ice: (ice) => urlsOf(ice, (url) => url) });
  const again = await tests(url, { on: restricted });
  assert.ok(again.found["no-candidates"] === "bad" || again.found["udp-blocked"] === "warning", JSON.stringify(again.found));
});

test("camera and microphone are tested on request", async () => {
  const { page } = await tests(server.local);
  await page.click("#devices");
  await page.waitForSelector('[data-finding="camera"][data-level="warning"]'); // this browser has none
  assert.match(await page.textContent('[data-finding="camera"]'), /Connect one/);
  assert.match(await page.textContent("#report-text"), /camera: NotFoundError/);
});

test("the page repeats why the call failed that led to it", async () => {
  const page = await person(browser);
  await page.goto(`${server.local}test#ended=no-path`);
  assert.equal(await page.textContent("#came-from"), "Your call: Your networks did not let the two of you connect.");
  await page.goto("about:blank");
  await page.goto(`${server.local}test#ended=no-path&cause=udp-blocked`);
  assert.equal(await page.textContent("#came-from"), "Your call: Your networks did not let the two of you connect. Your network blocks calls.");
});
