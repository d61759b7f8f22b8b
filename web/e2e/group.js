/** Several people in a group call. */

import assert from "node:assert/strict";
import { TIMEOUT, fillSetup, person, reaches, until } from "./browser.js";

/** Makes cameras take small pictures, since the processor encodes each for everyone else. Runs in the page. */
function takeSmallPictures() {
  const { getUserMedia } = globalThis.MediaDevices?.prototype ?? {};
  if (!getUserMedia) return; // an empty page
  MediaDevices.prototype.getUserMedia = function ({ video, ...more }) {
    window.asked = (window.asked ?? 0) + 1;
    return getUserMedia.call(this, { ...more, ...(video && { video: { ...video, width: 160, height: 120 } }) });
  };
}

/**
 * Opens a page for each name.
 * @param {import("playwright-core").Browser} browser
 * @param {number} count
 * @param {import("playwright-core").BrowserContextOptions} [options]
 */
export function people(browser, count, options) {
  return Promise.all(Array.from({ length: count }, async () => {
    const page = await person(browser, options);
    page.setDefaultTimeout(3 * TIMEOUT); // six people keep a processor busy
    await page.addInitScript(takeSmallPictures);
    return page;
  }));
}

/**
 * Opens the link to a room and joins.
 * @param {import("playwright-core").Page} page
 * @param {string} link
 * @param {{name: string, wish?: "both" | "microphone" | "none"}} options
 */
export async function joins(page, link, { name, wish = "both" }) {
  await page.goto(link);
  await page.waitForSelector("#setup[data-mode='group']");
  await fillSetup(page, { name, wish });
}

/**
 * Waits until a page is connected to people with these names, and to nobody else.
 * @param {import("playwright-core").Page} page
 * @param {...string} names
 */
export async function isWith(page, ...names) {
  await reaches(page, names.length === 0 ? "waiting" : "connected");
  await page.waitForFunction((names) => {
    const tiles = [...document.querySelectorAll(".tile")];
    const found = tiles.filter(({ dataset }) => dataset.state === "connected").map((tile) => tile.querySelector("bdi").textContent);
    return tiles.length === names.length && found.sort().join("\n") === names.sort().join("\n");
  }, names);
}

/** Waits until the videos of all others move and are not dark. @param {import("playwright-core").Page} page */
export async function seesAll(page) {
  await page.waitForFunction(() => [...document.querySelectorAll(".tile video")].every((video) => {
    if (video.videoWidth === 0 || getComputedStyle(video).visibility !== "visible") return false;
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 8;
    const context = canvas.getContext("2d");
    context.drawImage(video, 0, 0, 8, 8);
    const [, green] = context.getImageData(4, 4, 1, 1).data;
    const frames = navigator.userAgent.includes("Firefox") ? 10 * video.currentTime : video.getVideoPlaybackQuality().totalVideoFrames;
    video.firstFrames ??= frames;
    return green > 60 && frames >= video.firstFrames + 3;
  }));
  await page.evaluate(() => document.querySelectorAll(".tile video").forEach((video) => delete video.firstFrames));
}

/** Waits until sound arrives from so many others. @param {import("playwright-core").Page} page @param {number} others */
export async function hearsAll(page, others) {
  await until(page, async (others) => {
    let heard = 0;
    for (const connection of window.connections.filter(({ connectionState }) => connectionState === "connected")) {
      const reports = [...(await connection.getStats()).values()];
      if (reports.some(({ type, kind, totalAudioEnergy }) => type === "inbound-rtp" && kind === "audio" && totalAudioEnergy > 0)) heard++;
    }
    return heard === others;
  }, others);
  for (const video of await page.$$eval(".tile video", (videos) => videos.map(({ muted, volume, paused }) => ({ muted, volume, paused })))) {
    assert.deepEqual(video, { muted: false, volume: 1, paused: false });
  }
}

/** The texts of the log's events of one kind. @param {import("playwright-core").Page} page @param {string} step */
export async function events(page, step) {
  const texts = await page.locator(`#log [data-step="${step}"] > bdi`).allTextContents();
  return texts.map((text) => text.replace(/[\u2066-\u2069]/g, ""));
}

/** Selects the tile of a person. @param {string} name */
export const tileOf = (name) => `.tile:has(bdi:text-is("${name}"))`;
