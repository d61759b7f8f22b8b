/** Starts an ordinary Firefox and drives it over WebDriver BiDi. */

import { firefox } from "playwright-core";

/** A command that Playwright sends for every context and that Firefox does not support yet. */
const UNKNOWN = "emulation.setMediaFeaturesOverride";

/**
 * Starts a process with a fresh profile.
 * @param {{camera?: boolean, answers?: boolean, downloads?: string, preferences?: Record<string, string>}} [options] camera: whether
 *   it has a camera and a microphone; answers: whether pages get permission to use them; downloads: the directory of
 *   downloads, which Firefox does not report; preferences: additional ones
 */
export async function startFirefox({ camera = true, answers = true, downloads, preferences } = {}) {
  const browser = await firefox.launch({
    channel: "moz-firefox",
    executablePath: process.env.FIREFOX ?? "/usr/bin/firefox-esr",
    timeout: 60_000,
    downloadsPath: downloads,
    firefoxUserPrefs: {
      "media.navigator.streams.fake": camera,
      "media.navigator.permission.disabled": answers,
      // Plain addresses in candidates: mDNS names need a network with multicast.
      "media.peerconnection.ice.obfuscate_host_addresses": false,
      "media.peerconnection.ice.loopback": true,
      ...preferences,
    },
  });
  // All sessions share one prototype. This relies on internals of Playwright, whose version is pinned.
  const sessions = Object.getPrototypeOf(browser._connection.toImpl(browser)._browserSession);
  const { send } = sessions;
  sessions.send = function (method, params) {
    return method === UNKNOWN ? Promise.resolve({}) : send.call(this, method, params);
  };
  return browser;
}
