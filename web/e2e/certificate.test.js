/** How a waiting page handles a self-signed certificate. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { connect } from "node:tls";
import { once } from "node:events";
import { after, test } from "node:test";
import { folder, startServer, stopServers } from "./server.js";
import { closeBrowsers, launch, person, reaches, problemText, problemEnds, waits } from "./browser.js";

after(async () => {
  await closeBrowsers();
  await stopServers();
});

/** Returns the fingerprint by which Chromium identifies a certificate's key. */
async function fingerprint(port) {
  const socket = connect({ port, host: "127.0.0.1", rejectUnauthorized: false });
  await once(socket, "secureConnect");
  const key = socket.getPeerX509Certificate().publicKey.export({ type: "spki", format: "der" });
  socket.destroy();
  return createHash("sha256").update(key).digest("base64");
}

test("a waiting page recovers after a restart, and suggests a reload if the certificate is new", async () => {
  const snapshot = join(folder(), "inbox.snapshot");
  const flags = ["--tls", "self-signed", "--snapshot", snapshot];
  let server = await startServer(flags);
  // A person who has accepted only this certificate.
  const browser = await launch({ flags: [`--ignore-certificate-errors-spki-list=${await fingerprint(server.port)}`] });
  const alice = await person(browser, { ignoreHTTPSErrors: false });
  await waits(alice, server.url, { wish: "none" });

  await server.stop();
  assert.match(await problemText(alice, "server-away"), /reload this page/);
  server = await startServer(flags, { port: server.port });
  await problemEnds(alice, "server-away");
  await reaches(alice, "waiting");

  await server.stop();
  await problemText(alice, "server-away");
  rmSync(`${snapshot}.tls.pem`);
  await startServer(flags, { port: server.port });
  await alice.waitForEvent("console", (message) => message.text().includes("ERR_CERT_AUTHORITY_INVALID"));
  assert.match(await problemText(alice, "server-away"), /reload this page.*certificate/);
});
