/** Attacks on a password that Firefox may remember. */

import { after } from "node:test";
import { closeBrowsers, launchFirefox } from "../e2e/browser.js";
import { HOSTS, testPasswords } from "../e2e/passwords.js";
import { stopServers } from "../e2e/server.js";

after(async () => {
  await closeBrowsers();
  await stopServers();
});

testPasswords(() => launchFirefox({ preferences: { "network.dns.localDomains": HOSTS.join(",") } }));
