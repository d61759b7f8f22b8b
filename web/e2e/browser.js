/** Browsers, and helpers that act and look like a person in front of a page. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chromium } from "playwright-core";
import { chromiumOptions } from "./chromium.js";
import { startFirefox } from "./firefox.js";

/** Timeout of a step, in milliseconds: long enough for a busy machine. */
export const TIMEOUT = 20_000;

/** @type {Promise<import("playwright-core").Browser>[]} */
const launched = [];

/** Closes every browser, even one that is still starting. */
export async function closeBrowsers() {
  await Promise.all(launched.map((browser) => browser.then((browser) => browser.close(), () => {})));
}

/**
 * Starts a browser process with a fresh profile.
 * @param {{camera?: boolean, devices?: number, answers?: boolean, names?: boolean, flags?: string[]}} [options] camera: whether
 *   it has a camera and a microphone; devices: the number of cameras; for the others see chromiumOptions
 */
export function launch(options) {
  const browser = chromium.launch(launching(options));
  launched.push(browser);
  return browser;
}

/** Starts Firefox with a fresh profile. @param {Parameters<typeof startFirefox>[0]} [options] */
export function launchFirefox(options) {
  const browser = startFirefox(options);
  launched.push(browser);
  return browser;
}

/**
 * Starts a browser whose processes can be suspended, like a sleeping computer.
 * @param {Parameters<typeof launch>[0]} [options]
 */
export async function launchSleeper(options) {
  const server = await chromium.launchServer(launching(options));
  const browser = chromium.connect(server.wsEndpoint());
  launched.push(browser.then((browser) => ({ close: () => browser.close().then(() => server.close()) })));
  /** Signals all processes of the browser, including descendants. */
  const signal = (name) => {
    const all = execFileSync("ps", ["-eo", "pid=,ppid="], { encoding: "utf8" }).trim().split("\n").map((line) => line.trim().split(/\s+/).map(Number));
    const own = [server.process().pid];
    for (const parent of own) own.push(...all.filter(([, of]) => of === parent).map(([pid]) => pid));
    for (const pid of own) process.kill(pid, name);
  };
  return { browser: await browser, sleep: () => signal("SIGSTOP"), wake: () => signal("SIGCONT") };
}

/** @param {Parameters<typeof launch>[0]} [options] */
function launching({ camera = true, devices = 1, ...more } = {}) {
  return chromiumOptions({ devices: camera ? devices : 0, ...more });
}

/** Messages that the browser logs about responses that a test provokes. */
const EXPECTED = /^WebSocket connection to '[^']*' failed: (Error in connection establishment: net::ERR_CONNECTION_(REFUSED|RESET)|Connection closed before receiving a handshake response|WebSocket is closed before the connection is established\.)|^Failed to load resource: (the server responded with a status of (401|404|409|503)|net::ERR_CONNECTION_(REFUSED|RESET)|net::ERR_EMPTY_RESPONSE|net::ERR_SOCKET_NOT_CONNECTED|net::ERR_INCOMPLETE_CHUNKED_ENCODING)/;

/** Faults of all pages since the last check: uncaught errors, console errors and warnings, CSP violations. */
const faults = [];

/**
 * Fails if a page had a fault.
 * @param {{provoked?: boolean, expected?: RegExp}} [options] provoked: ignore refused requests; expected: ignore these faults too
 */
export function assertNoFaults({ provoked = false, expected } = {}) {
  const found = faults.splice(0).filter((fault) => !(provoked && EXPECTED.test(fault)) && !expected?.test(fault));
  assert.deepEqual(found, []);
}

/**
 * @param {import("playwright-core").BrowserContext} context
 * @returns {Promise<import("playwright-core").Page>}
 */
async function watch(context) {
  context.setDefaultTimeout(TIMEOUT);
  // Tests read the statistics of connections here, without hooks in the page.
  await context.addInitScript(() => {
    const Real = window.RTCPeerConnection;
    window.connections = [];
    window.RTCPeerConnection = class extends Real {
      constructor(...given) {
        super(...given);
        window.connections.push(this);
      }
    };
  });
  context.on("page", watchPage);
  return context.newPage();
}

/** @param {import("playwright-core").Page} page */
function watchPage(page) {
  page.on("pageerror", (error) => faults.push(`uncaught: ${error.stack ?? error}`));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) faults.push(message.text());
  });
}

/**
 * Opens a page in a separate context, which stands for a person.
 * @param {import("playwright-core").Browser} browser
 * @param {import("playwright-core").BrowserContextOptions} [options]
 */
export async function person(browser, options = {}) {
  return watch(await browser.newContext({ ignoreHTTPSErrors: true, ...options }));
}

/** Opens a page in a network that lets nothing through: no candidate of the other side works. */
export async function walled(browser) {
  const page = await person(browser);
  await page.addInitScript(() => {
    const { addIceCandidate, setRemoteDescription } = RTCPeerConnection.prototype;
    RTCPeerConnection.prototype.addIceCandidate = function (given) {
      return addIceCandidate.call(this, { ...given, candidate: given.candidate.replace(/ \d+ typ/, " 9 typ") });
    };
    RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }) {
      return setRemoteDescription.call(this, { type, sdp: sdp.replace(/^a=candidate.*\r\n/gm, "") });
    };
  });
  return page;
}

/** @param {import("playwright-core").Page} page @param {string} state */
export async function reaches(page, state) {
  try {
    await page.waitForSelector(`body[data-state="${state}"]`);
  } catch (error) {
    throw new Error(`${state} was not reached; the page says:\n${await page.evaluate(() => document.body.innerText)}`, { cause: error });
  }
}

/** @param {import("playwright-core").Page} page @param {string} name */
export async function problemText(page, name) {
  const text = await page.locator(`[data-problem="${name}"]`).innerText();
  assert.ok(text.length > 40, `“${text}” does not help`);
  return text;
}

/** @param {import("playwright-core").Page} page @param {string} name */
export async function problemEnds(page, name) {
  await page.locator(`[data-problem="${name}"]`).waitFor({ state: "detached" });
}

/** @param {import("playwright-core").Page} page @param {string} name */
export async function step(page, name) {
  await page.locator(`#log [data-step="${name}"]`).first().waitFor();
}

/**
 * Opens the call page and starts.
 * @param {import("playwright-core").Page} page
 * @param {string} url of the server
 * @param {{id?: string, name?: string, ask?: boolean, wish?: "both" | "microphone" | "none"}} [options]
 */
export async function opens(page, url, { id, name, ask = false, wish = "both" } = {}) {
  await page.goto(new URL("call", url).href);
  await fillSetup(page, { id, name, ask, wish });
}

/**
 * Opens the call page and waits for calls.
 * @param {import("playwright-core").Page} page
 * @param {string} url of the server
 * @param {{id?: string, name?: string, ask?: boolean, wish?: "both" | "microphone" | "none"}} [options]
 * @returns {Promise<string>} the link
 */
export async function waits(page, url, options) {
  await opens(page, url, options);
  await reaches(page, "waiting");
  return page.inputValue("#link");
}

/**
 * Opens a link and calls.
 * @param {import("playwright-core").Page} page
 * @param {string} link
 * @param {{id?: string, name?: string, wish?: "both" | "microphone" | "none"}} [options]
 */
export async function calls(page, link, { id, name, wish = "both" } = {}) {
  await page.goto(link);
  await fillSetup(page, { id, name, wish });
}

/** Fills the form of the call page and submits it. */
export async function fillSetup(page, { id, name, ask, wish }) {
  await page.waitForSelector("#setup:not([hidden])");
  if (name !== undefined) await page.fill("#name", name);
  if (id !== undefined) {
    if (!(await page.isVisible("#id"))) await page.click("#link-details summary");
    await page.fill("#id", id);
  }
  if (ask !== undefined) await page.setChecked("#auto", !ask);
  await page.check(`input[name="wish"][value="${wish}"]`, { force: true });
  await page.click("#start");
}

/** @param {...import("playwright-core").Page} pages */
export async function areConnected(...pages) {
  await Promise.all(pages.map(async (page) => {
    await reaches(page, "connected");
    await page.waitForSelector("body[data-chat='open'][data-path]");
  }));
}

/**
 * Runs a page's installed clock until a condition holds. One long run would not do: an attempt
 * sets a timer when the browser has ended the step before.
 * @param {import("playwright-core").Page} page
 * @param {() => Promise<boolean>} holds
 */
export async function runsUntil(page, holds) {
  for (const end = Date.now() + TIMEOUT; !(await holds()) && Date.now() < end; ) await page.clock.runFor(1000);
}

/**
 * Waits until an asynchronous function in a page returns true. page.waitForFunction takes
 * synchronous functions only: a promise is always truthy.
 * @template T
 * @param {import("playwright-core").Page} page
 * @param {(given: T) => Promise<boolean>} act
 * @param {T} [given]
 */
export async function until(page, act, given) {
  const deadline = performance.now() + TIMEOUT;
  while (!(await page.evaluate(act, given))) {
    if (performance.now() > deadline) throw new Error(`still not true: ${act}`);
    await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 50)));
  }
}

/** Waits until the other person's video moves and is not dark. @param {import("playwright-core").Page} page */
export async function sees(page) {
  try {
    await page.waitForFunction(() => {
      const video = /** @type {HTMLVideoElement} */ (document.getElementById("remote"));
      const seen = (window.seen ??= {});
      seen.width = video.videoWidth;
      seen.visibility = getComputedStyle(video).visibility;
      if (seen.width === 0 || seen.visibility !== "visible") return false;
      const canvas = document.createElement("canvas");
      canvas.width = canvas.height = 8;
      const context = canvas.getContext("2d");
      context.drawImage(video, 0, 0, 8, 8);
      [, seen.green] = context.getImageData(4, 4, 1, 1).data;
      // Firefox does not count frames of a stream, but its time advances with them. In Chromium, time advances without frames.
      seen.frames = navigator.userAgent.includes("Firefox") ? 10 * video.currentTime : video.getVideoPlaybackQuality().totalVideoFrames;
      seen.first ??= seen.frames;
      return seen.green > 60 && seen.frames >= seen.first + 3;
    });
  } catch (error) {
    const [seen, data] = await page.evaluate(() => [window.seen, { ...document.body.dataset }]);
    throw new Error(`no moving video: ${JSON.stringify({ ...seen, ...data })}`, { cause: error });
  }
  await page.evaluate(() => delete window.seen);
}

/** Waits until sound arrives that is not silent. @param {import("playwright-core").Page} page */
export async function hears(page) {
  await until(page, async () => {
    const [connection] = window.connections.filter((one) => one.connectionState === "connected").slice(-1);
    for (const report of (await connection?.getStats())?.values() ?? []) {
      if (report.type === "inbound-rtp" && report.kind === "audio" && report.totalAudioEnergy > 0) return true;
    }
    return false;
  });
  const video = await page.$eval("#remote", (video) => ({ muted: video.muted, volume: video.volume, paused: video.paused }));
  assert.deepEqual(video, { muted: false, volume: 1, paused: false });
}

/**
 * @param {import("playwright-core").Page} from
 * @param {import("playwright-core").Page} to
 * @param {string} text
 */
export async function writes(from, to, text) {
  await from.fill("#text", text);
  await from.press("#text", "Enter");
  await Promise.all([[from, "mine"], [to, "theirs"]].map(([page, kind]) =>
    page.locator(`#log [data-kind="${kind}"] bdi`).filter({ hasText: text }).first().waitFor()));
}
