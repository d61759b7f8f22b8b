/** Attacks on a password that Chromium may remember. */

import { after } from "node:test";
import { closeBrowsers, launch } from "./browser.js";
import { HOSTS, testPasswords } from "./passwords.js";
import { stopServers } from "./server.js";

after(async () => {
  await closeBrowsers();
  await stopServers();
});

testPasswords(() => launch({ flags: [`--host-resolver-rules=${HOSTS.map((host) => `MAP ${host} 127.0.0.1`).join(",")}`] }));
