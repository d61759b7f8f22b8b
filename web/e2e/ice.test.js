/** Calls through the server's relay, which the pages find without settings. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { areConnected, assertNoFaults, calls, closeBrowsers, launch, person, reaches, runsUntil, waits } from "./browser.js";
import { folder, startServer, stopServers } from "./server.js";

/** @type {import("playwright-core").Browser} */
let browser;
/** @type {Awaited<ReturnType<typeof startServer>>} */
let server;
/** @type {Awaited<ReturnType<typeof startServer>>} */
let secure;

before(async () => {
  const [cert, key] = certificate();
  [browser, server, secure] = await Promise.all([
    // Browsers do not know the authority that signed the certificate.
    launch({ flags: ["--ignore-certificate-errors"] }),
    startServer(),
    startServer(["--tls", "files", "--tls-cert", cert, "--tls-key", key]),
  ]);
});
after(async () => {
  await closeBrowsers();
  await stopServers();
});
afterEach(() => assertNoFaults());

/** Creates a certificate for localhost that an authority signed, as files. */
function certificate() {
  const dir = folder();
  const openssl = (...given) => execFileSync("openssl", given, { cwd: dir, stdio: "ignore" });
  const ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  openssl("req", "-x509", ...ec, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority", "-days", "1");
  openssl("req", ...ec, "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=localhost");
  writeFileSync(join(dir, "names"), "subjectAltName=DNS:localhost");
  openssl("x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names", "-out", "cert.pem", "-days", "1");
  return [join(dir, "cert.pem"), join(dir, "key.pem")];
}

/**
 * Opens a page whose browser uses only some ICE servers, as in a strict network.
 * @param {{relay?: boolean, only?: string}} network relay: no direct path; only: a pattern of the TURN URLs that can be reached
 */
async function behind({ relay = false, only = "" } = {}) {
  const page = await person(browser);
  await page.addInitScript(({ relay, only }) => {
    const Watched = window.RTCPeerConnection;
    window.RTCPeerConnection = class extends Watched {
      constructor(configuration = {}) {
        const iceServers = configuration.iceServers?.map(({ urls, ...rest }) => ({ ...rest, urls: urls.filter((url) => !url.startsWith("turn") || url.match(only)) })).filter(({ urls }) => urls.length);
        super({ ...configuration, iceServers, ...(relay && { iceTransportPolicy: "relay" }) });
      }
    };
  }, { relay, only });
  /** The outcomes that the page reports. @type {object[]} */
  page.outcomes = [];
  page.on("request", (request) => {
    if (request.url().endsWith("/outcome") && request.method() === "POST") page.outcomes.push(request.postDataJSON());
  });
  return page;
}

for (const [name, alices, bobs, at, words] of [
  ["a direct path", {}, {}, () => server.local, { path: "direct", transport: "udp" }],
  ["the relay, over UDP", { relay: true }, { relay: true, only: "udp" }, () => server.local, { path: "relay", transport: "udp" }],
  ["the relay, over TCP on one side", { relay: true, only: "udp" }, { relay: true, only: "tcp" }, () => server.local, { path: "relay", transport: "tcp" }],
  ["the relay, over TLS on the port of the page", { relay: true, only: "udp" }, { relay: true, only: "^turns:" }, () => secure.local, { path: "relay", transport: "tls" }],
  ["the relay, with one side that has direct paths too", {}, { relay: true }, () => server.local, { path: "relay", transport: "udp" }],
]) {
  test(`a call without any settings takes ${name}, and reports it`, async () => {
    const [alice, bob] = [await behind(alices), await behind(bobs)];
    await calls(bob, await waits(alice, at(), { wish: "none" }), { wish: "none" });
    await areConnected(alice, bob);
    const path = await bob.getAttribute("body", "data-path");
    assert.equal(path, words.path === "direct" ? path : "relay");
    const answered = bob.waitForResponse((response) => response.url().endsWith("/outcome") && response.request().method() === "POST");
    assert.equal((await answered).status(), 204);
    const [{ ms, family, ...outcome }, ...more] = bob.outcomes;
    assert.deepEqual(outcome, { result: "connected", ...words });
    assert.ok(ms > 0 && ms < 60_000, `${ms}`);
    assert.ok([undefined, "ipv4", "ipv6"].includes(family));
    assert.deepEqual(more, []);
    assert.deepEqual(alice.outcomes, []); // only the caller reports
    await alice.context().close();
    await bob.context().close();
  });
}

test("a call without a path reports the cause, and the page explains it", async () => {
  // Bob cannot reach the relay, and there is no other path.
  const [alice, bob] = [await behind({ relay: true }), await behind({ only: "^nothing" })];
  await bob.clock.install();
  await calls(bob, await waits(alice, server.local, { wish: "none" }), { wish: "none" });
  await reaches(bob, "connecting");
  await runsUntil(bob, async () => (await bob.locator("[data-problem='no-relay']").count()) > 0);
  const text = await bob.locator("[data-problem='no-relay']").innerText();
  assert.match(text, /no relay/);
  assert.deepEqual(bob.outcomes.map(({ result, cause }) => [result, cause]), [["failed", "no-relay"]]);
});
