/**
 * Takes the picture in the README again: two browsers in a call, each with a portrait for a
 * camera. Run it after a change to the call page: npm run screenshot.
 */

import { openSync, writeSync, closeSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { areConnected, calls, closeBrowsers, launch, person, waits, writes } from "../e2e/browser.js";
import { folder, startServer, stopServers } from "../e2e/server.js";
import { root } from "./blocks.js";

const WIDTH = 640, HEIGHT = 560;
/** Bytes that the picture may have. */
const LIMIT = 120 * 1024;

const PEOPLE = {
  alice: { wall: ["#f6d6c0", "#e8a98a"], skin: "#f3c6a5", hair: "#5b3a29", shirt: "#2f6f73" },
  bob: { wall: ["#cfe3f4", "#8fb4d6"], skin: "#d9a074", hair: "#1f1a1a", shirt: "#c0563f" },
};

/** Draws a portrait in a page, and returns its pixels as I420. */
function draw({ width, height, person: { wall, skin, hair, shirt }, long }) {
  const canvas = new OffscreenCanvas(width, height);
  const c = canvas.getContext("2d");
  const gradient = c.createLinearGradient(0, 0, width, height);
  wall.forEach((color, i) => gradient.addColorStop(i, color));
  c.fillStyle = gradient;
  c.fillRect(0, 0, width, height);
  const shape = (color, ...ellipse) => {
    c.fillStyle = color;
    c.beginPath();
    c.ellipse(...ellipse, 0, 0, 2 * Math.PI);
    c.fill();
  };
  const x = width / 2, y = height * 0.44;
  if (long) shape(hair, x, y + 50, 118, 160);
  shape(shirt, x, y + 320, 200, 190);
  c.fillStyle = skin;
  c.fillRect(x - 32, y + 70, 64, 90);
  shape(skin, x, y, 88, 112);
  c.fillStyle = hair;
  c.beginPath();
  c.ellipse(x, y - 30, 98, 96, 0, Math.PI, 2 * Math.PI);
  c.quadraticCurveTo(x + 20, y - 50, x - 98, y - 30);
  c.fill();
  for (const side of [-1, 1]) {
    shape("#fff", x + side * 36, y + 2, 14, 10);
    shape("#2b2b2b", x + side * 36, y + 2, 7, 8);
  }
  c.lineCap = "round";
  c.lineWidth = 5;
  c.strokeStyle = "#8c3b32";
  c.beginPath();
  c.arc(x, y + 38, 30, 0.15 * Math.PI, 0.85 * Math.PI);
  c.stroke();
  const { data } = c.getImageData(0, 0, width, height);
  const size = width * height;
  const planes = new Uint8ClampedArray(size * 1.5);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const i = row * width + column;
      const [r, g, b] = data.subarray(4 * i, 4 * i + 3);
      planes[i] = 16 + 0.257 * r + 0.504 * g + 0.098 * b;
      if (row % 2 || column % 2) continue;
      const j = size + (row >> 1) * (width >> 1) + (column >> 1);
      planes[j] = 128 - 0.148 * r - 0.291 * g + 0.439 * b;
      planes[j + size / 4] = 128 + 0.439 * r - 0.368 * g - 0.071 * b;
    }
  }
  return Array.from(planes);
}

/** Writes a film of two equal frames, which Chromium plays as its camera. @returns {Promise<string>} its file */
async function film(page, name) {
  const pixels = await page.evaluate(draw, { width: WIDTH, height: HEIGHT, person: PEOPLE[name], long: name === "alice" });
  const path = join(folder(), `${name}.y4m`);
  const file = openSync(path, "w");
  writeSync(file, `YUV4MPEG2 W${WIDTH} H${HEIGHT} F10:1 Ip A1:1 C420jpeg\n`);
  for (let i = 0; i < 2; i++) {
    writeSync(file, "FRAME\n");
    writeSync(file, Uint8Array.from(pixels));
  }
  closeSync(file);
  return path;
}

const server = await startServer();
const artist = await (await launch({ camera: false })).newPage();
const [alice, bob] = await Promise.all(["alice", "bob"].map(async (name) => {
  const browser = await launch({ names: false, flags: [`--use-file-for-fake-video-capture=${await film(artist, name)}`] });
  return person(browser, { viewport: { width: 1120, height: 700 }, colorScheme: "light" });
}));
const link = await waits(alice, server.local, { name: "Alice" });
await calls(bob, link, { name: "Bob" });
await areConnected(alice, bob);
await writes(bob, alice, "Hi Alice, I can see you!");
await writes(alice, bob, "Me too. Shall I share my screen?");
await writes(bob, alice, "Yes, please.");
await alice.waitForFunction(() => remote.videoWidth > 0 && remote.getVideoPlaybackQuality().totalVideoFrames > 50); // sharp by then
await alice.mouse.move(0, 0);
let picture;
for (let quality = 90; (picture = await alice.screenshot({ type: "jpeg", quality })).length > LIMIT; quality -= 5);
writeFileSync(join(root, "docs/images/call.jpg"), picture);
console.log(`docs/images/call.jpg: ${picture.length} bytes`);
await closeBrowsers();
await stopServers();
