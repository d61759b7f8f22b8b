/** Attacks on a password that Chromium may remember. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, test } from "node:test";
import { closeBrowsers, launch } from "./browser.js";
import { HOSTS, tryPasswords } from "./passwords.js";
import { folder, startServer, stopServers } from "./server.js";

after(async () => {
  await closeBrowsers();
  await stopServers();
});

test("no page can receive or send a message with a password that the browser remembers", async () => {
  // The second server only provides a certificate.
  const snapshot = join(folder(), "inbox.snapshot");
  const [server, secure] = await Promise.all([startServer(), startServer(["--tls", "self-signed", "--snapshot", snapshot])]);
  await secure.kill();
  const browser = await launch({ flags: [`--host-resolver-rules=${HOSTS.map((host) => `MAP ${host} 127.0.0.1`).join(",")}`] });
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  assert.ok((await tryPasswords(context, server, `${snapshot}.tls.pem`)) > 400);
});
