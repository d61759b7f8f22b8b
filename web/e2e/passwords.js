/**
 * Attacks on a password that the browser may remember: every way in which a page can cause
 * a request, from pages in every relation to the inbox.
 */

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer as createHTTP, request as requestHTTP } from "node:http";
import { createServer as createHTTPS } from "node:https";
import { connect } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { folder, startServer } from "./server.js";

/** Host names that the browsers of these tests resolve to this computer. */
export const HOSTS = ["inbox.example.test", "app.example.test", "evil.test"];

const PASSWORD = "swordfish";
const authorization = "Basic " + Buffer.from(`alice:${PASSWORD}`).toString("base64");

/** Origins of the attacking page, relative to the inbox. */
const RELATIONS = {
  "the same origin": (inbox) => inbox,
  "another port": (inbox, other) => inbox.replace(/\d+$/, other),
  "a sibling subdomain": (inbox, other) => inbox.replace("inbox.", "app.").replace(/\d+$/, other),
  "another site": (inbox, other) => inbox.replace(/\/\/.*/, `//evil.test:${other}`),
};

/**
 * A proxy between a browser and the inbox. It forwards and records every request, and
 * serves the attacking page at /attack under every host name.
 */
class Front {
  /** @type {{vector: string | null, authorization?: string, answered?: boolean, challenge?: string}[]} */
  seen = [];

  /** @param {import("node:http").Server} server @param {number} inbox its port */
  constructor(server, inbox) {
    this.server = server;
    server.on("request", (request, response) => {
      const url = new URL(request.url, "http://front");
      if (url.pathname === "/attack") {
        response.setHeader("Content-Type", "text/html");
        response.setHeader("Content-Security-Policy-Report-Only", `style-src-attr 'none'; report-uri ${url.searchParams.get("report")}`);
        response.end("<!doctype html><title>attack</title><body>");
        return;
      }
      if (url.pathname !== "/inbox") return void response.writeHead(404).end();
      const seen = { vector: url.searchParams.get("v"), authorization: request.headers.authorization };
      this.seen.push(seen);
      const passed = requestHTTP({ port: inbox, host: "127.0.0.1", path: request.url, method: request.method, headers: request.headers }, (answer) => {
        Object.assign(seen, { answered: true, challenge: answer.headers["www-authenticate"] });
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
      });
      passed.on("error", () => response.destroy());
      response.on("close", () => passed.destroy());
      request.pipe(passed);
    });
    server.on("upgrade", (request, socket, head) => {
      this.seen.push({ vector: new URL(request.url, "http://front").searchParams.get("v"), authorization: request.headers.authorization, answered: true });
      const lines = [];
      for (let i = 0; i < request.rawHeaders.length; i += 2) lines.push(`${request.rawHeaders[i]}: ${request.rawHeaders[i + 1]}\r\n`);
      const passed = connect(inbox, "127.0.0.1", () => passed.write(`${request.method} ${request.url} HTTP/1.1\r\n${lines.join("")}\r\n`) && passed.write(head));
      passed.pipe(socket).pipe(passed);
      for (const end of [passed, socket]) end.on("error", () => { passed.destroy(); socket.destroy(); });
    });
  }

  /** Waits until requests with these vectors arrived. */
  async waitFor(vectors, where) {
    const missing = () => vectors.filter((vector) => !this.seen.some((seen) => seen.vector === vector && seen.answered));
    for (const deadline = Date.now() + 20_000; missing().length > 0; await new Promise((resolve) => setTimeout(resolve, 20))) {
      assert.ok(Date.now() < deadline, `${missing()} never arrived from ${where}`);
    }
  }

  async listen() {
    this.server.listen(0, "127.0.0.1");
    await once(this.server, "listening");
    return this.server.address().port;
  }
}

/** Causes requests in every possible way, each with a name. Runs in the attacking page. */
async function attack(target) {
  const get = (vector) => `${target}/inbox?wait=0&v=${vector}`;
  const post = (vector) => `${target}/inbox?to=alice&v=${vector}`;
  const settled = [];
  /** Adds an element and waits for it. */
  const element = (tag, properties, parent = document.body) => {
    const made = document.createElement(tag);
    settled.push(new Promise((resolve) => {
      made.onload = made.onerror = made.onloadeddata = resolve;
    }));
    Object.assign(made, properties);
    parent.append(made);
    return made;
  };
  for (const credentials of ["include", "same-origin"]) {
    for (const mode of ["cors", "no-cors", "same-origin"]) {
      const name = `fetch-${mode}-${credentials}`;
      settled.push(fetch(get(name), { mode, credentials }).catch(() => {}));
      settled.push(fetch(post(`${name}-post`), { method: "POST", mode, credentials, body: "forged" }).catch(() => {}));
      settled.push(fetch(post(`${name}-keepalive`), { method: "POST", mode, credentials, body: "forged", keepalive: true }).catch(() => {}));
    }
  }
  for (const accept of ["application/json", "text/event-stream"]) {
    settled.push(fetch(get(`fetch-${accept}`), { credentials: "include", headers: { Accept: accept } }).catch(() => {}));
  }
  settled.push(new Promise((resolve) => {
    const xhr = new XMLHttpRequest();
    xhr.open("GET", get("xhr"));
    xhr.withCredentials = true;
    xhr.onloadend = resolve;
    xhr.send();
  }));
  settled.push(new Promise((resolve) => {
    const source = new EventSource(get("eventsource"), { withCredentials: true });
    source.onopen = source.onerror = () => resolve(source.close());
  }));
  settled.push(new Promise((resolve) => {
    const socket = new WebSocket(`${target.replace("http", "ws")}/inbox?after=0&v=websocket`, "inbox.v1");
    socket.onopen = () => socket.send(JSON.stringify({ type: "send", to: "alice", body: "forged" }));
    socket.onclose = resolve;
  }));
  element("img", { src: get("img") });
  element("img", { crossOrigin: "use-credentials", src: get("img-cors") });
  element("script", { src: get("script") });
  element("script", { crossOrigin: "use-credentials", src: get("script-cors") });
  element("script", { type: "module", src: get("script-module") });
  element("iframe", { src: get("iframe") });
  element("object", { data: get("object") });
  element("embed", { src: get("embed") });
  element("video", { src: get("video") });
  element("input", { type: "image", src: get("input") });
  element("link", { rel: "stylesheet", href: get("stylesheet") }, document.head);
  element("link", { rel: "prefetch", href: get("prefetch") }, document.head);
  element("link", { rel: "preload", as: "image", href: get("preload") }, document.head);
  element("link", { rel: "preload", as: "fetch", crossOrigin: "use-credentials", href: get("preload-fetch") }, document.head);
  element("link", { rel: "icon", href: get("icon") }, document.head);
  document.body.append(Object.assign(document.createElement("style"), {
    textContent: `@import url("${get("import")}"); @font-face { font-family: f; src: url("${get("font")}") } body { font-family: f; background: url("${get("css")}") }`,
  }), "text in that font");
  for (const [name, method, enctype] of [["form-get", "get", ""], ["form-post", "post", "text/plain"], ["form-multipart", "post", "multipart/form-data"]]) {
    const frame = element("iframe", { name });
    const form = Object.assign(document.createElement("form"), { method, enctype, target: frame.name, action: method === "get" ? `${target}/inbox` : post(name) });
    for (const [field, value] of [["wait", "0"], ["v", name]]) form.append(Object.assign(document.createElement("input"), { name: field, value }));
    document.body.append(form);
    form.submit();
  }
  navigator.sendBeacon(post("beacon"), "forged");
  navigator.sendBeacon(post("beacon-json"), new Blob(["forged"], { type: "application/json" }));
  const link = Object.assign(document.createElement("a"), { href: "#", ping: post("ping") });
  document.body.append(link);
  link.click();
  document.body.setAttribute("style", "color: red"); // which the policy reports
  // Some never settle: browsers do not fetch some of them, and others only when idle.
  await Promise.race([Promise.allSettled(settled), new Promise((resolve) => setTimeout(resolve, 1000))]);
}

/** Vectors that reach the inbox in every browser. Without them the test would prove nothing. */
const CERTAIN = [
  "fetch-cors-include", "fetch-cors-include-post", "fetch-no-cors-include", "fetch-no-cors-include-post", "fetch-text/event-stream", "xhr", "eventsource", "websocket",
  "img", "img-cors", "script", "script-cors", "iframe", "object", "video", "stylesheet", "css", "form-get", "form-post", "beacon",
];

/**
 * Attacks from every origin, and fails if a request carries the password or changes the inbox.
 * @param {import("playwright-core").BrowserContext} context
 * @param {{port: number}} inbox a server over plain HTTP
 * @param {string} pem a certificate and its key
 * @returns {Promise<number>} the number of requests that reached the inbox
 */
async function tryPasswords(context, inbox, pem) {
  const certificate = readFileSync(pem);
  const api = async (query, options) => {
    const answer = await fetch(`http://127.0.0.1:${inbox.port}/inbox?${query}`, { headers: { Authorization: authorization, Accept: "application/json" }, ...options });
    assert.ok(answer.ok, `${query}: ${answer.status}`);
    return answer.status === 200 ? answer.text() : "";
  };
  let requests = 0;
  for (const protocol of ["http", "https"]) {
    const front = () => new Front(protocol === "http" ? createHTTP() : createHTTPS({ key: certificate, cert: certificate }), inbox.port);
    const [own, other] = [front(), front()];
    const [port, otherPort] = [await own.listen(), await other.listen()];
    try {
      for (const target of [`${protocol}://inbox.example.test:${port}`, `${protocol}://localhost:${port}`]) {
        await api("limit=0");
        await api("to=alice", { method: "POST", body: "precious" });
        for (const [relation, place] of Object.entries(RELATIONS)) {
          if (target.includes("localhost") && relation === "a sibling subdomain") continue;
          const where = `${relation} over ${protocol}, at ${new URL(target).hostname}`;
          own.seen = [];
          const page = await context.newPage();
          // A browser would remember these passwords if it were challenged.
          await page.goto(`${target}/attack?report=x`);
          await page.evaluate(([target, password]) => new Promise((resolve) => {
            const xhr = new XMLHttpRequest();
            xhr.open("GET", `${target}/inbox?limit=0&v=xhr-password`, true, "alice", password);
            xhr.onloadend = resolve;
            xhr.send();
          }), [target, PASSWORD]);
          await page.goto(`${target.replace("//", `//alice:${PASSWORD}@`)}/inbox?limit=0&v=typed`).catch(() => {});

          const report = encodeURIComponent(`${target}/inbox?to=alice&v=report`);
          await page.goto(`${place(target, otherPort)}/attack?report=${report}`);
          await page.evaluate(attack, target);
          await own.waitFor(CERTAIN, where);
          await page.evaluate((url) => void setTimeout(() => (location.href = url)), `${target}/inbox?wait=0&v=navigation`);
          await own.waitFor(["navigation"], where);
          await page.close();
          for (const { vector, authorization, challenge } of own.seen) {
            assert.equal(challenge, undefined, `${vector} from ${where} was challenged`);
            assert.equal(authorization, undefined, `${vector} from ${where} had the password`);
          }
          requests += own.seen.length;
          const { messages } = JSON.parse(await api("after=0&wait=0"));
          assert.deepEqual(messages.map(({ body }) => body), ["precious"], where);
        }
        await api("", { method: "DELETE" });
      }
    } finally {
      for (const { server } of [own, other]) {
        server.close();
        server.closeAllConnections();
      }
    }
  }
  return requests;
}

/** Tests a browser that resolves HOSTS. @param {() => Promise<import("playwright-core").Browser>} launch */
export function testPasswords(launch) {
  test("no page can receive or send a message with a password that the browser remembers", async () => {
    // The second server only provides a certificate.
    const snapshot = join(folder(), "inbox.snapshot");
    const [server, secure] = await Promise.all([startServer(), startServer(["--tls", "self-signed", "--snapshot", snapshot])]);
    await secure.kill();
    const browser = await launch();
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    assert.ok((await tryPasswords(context, server, `${snapshot}.tls.pem`)) > 400);
  });
}
