/** Firefox as it is distributed, driven over WebDriver BiDi. */

import { firefox } from "playwright-core";

/** What Playwright asks for in every context, whether it is wanted or not, and Firefox does not know yet. */
const UNKNOWN = "emulation.setMediaFeaturesOverride";

/**
 * A process of its own, with a fresh profile.
 * @param {{camera?: boolean, answers?: boolean, downloads?: string, preferences?: Record<string, string>}} [options] camera: there is one, and a
 *   microphone; answers: the question whether the page may use them is answered with yes; downloads: where
 *   they go, since nobody tells of them; preferences: more of them
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
      // Plain addresses in candidates: names of mDNS need a network that has multicast.
      "media.peerconnection.ice.obfuscate_host_addresses": false,
      "media.peerconnection.ice.loopback": true,
      ...preferences,
    },
  });
  // All sessions have one prototype. This reaches into Playwright, whose version is pinned.
  const sessions = Object.getPrototypeOf(browser._connection.toImpl(browser)._browserSession);
  const { send } = sessions;
  sessions.send = function (method, params) {
    return method === UNKNOWN ? Promise.resolve({}) : send.call(this, method, params);
  };
  return browser;
}
