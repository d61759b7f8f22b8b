/** Attacks on a password that Firefox may remember. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, test } from "node:test";
import { closeBrowsers, launchFirefox } from "../e2e/browser.js";
import { HOSTS, tryPasswords } from "../e2e/passwords.js";
import { folder, startServer, stopServers } from "../e2e/server.js";

after(async () => {
  await closeBrowsers();
  await stopServers();
});

test("no page can receive or send a message with a password that the browser remembers", async () => {
  // The second server only provides a certificate.
  const snapshot = join(folder(), "inbox.snapshot");
  const [server, secure] = await Promise.all([startServer(), startServer(["--tls", "self-signed", "--snapshot", snapshot])]);
  await secure.kill();
  const browser = await launchFirefox({ preferences: { "network.dns.localDomains": HOSTS.join(",") } });
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  assert.ok((await tryPasswords(context, server, `${snapshot}.tls.pem`)) > 400);
});
