/** Links and QR codes on both pages. */

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execFileSync } from "node:child_process";
import { before, test } from "node:test";
import jsQR from "jsqr";
import { cleanUp } from "./hooks.js";
import { startServer } from "./server.js";
import { fillSetup, launch, person, reaches, waits } from "./browser.js";

let browser, server;
/** The URL of the server as other devices reach it. */
let reachable;

before(async () => {
  [server, browser] = await Promise.all([
    startServer(["--tls", "self-signed"]),
    launch({ camera: false, flags: ["--host-resolver-rules=MAP inbox.test 127.0.0.1"] }),
  ]);
  reachable = server.url.replace("127.0.0.1", "inbox.test");
});
cleanUp(() => browser);

/** Reads the QR code from the screen, like the camera of a phone. */
async function scan(page) {
  const picture = await page.locator("#qr").screenshot();
  const { data, width, height } = await page.evaluate(async (picture) => {
    const bitmap = await createImageBitmap(new Blob([Uint8Array.from(atob(picture), (char) => char.charCodeAt(0))]));
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    const context = canvas.getContext("2d");
    context.drawImage(bitmap, 0, 0);
    const { data, width, height } = context.getImageData(0, 0, bitmap.width, bitmap.height);
    return { data: Array.from(data, (byte) => String.fromCharCode(byte)).join(""), width, height };
  }, picture.toString("base64"));
  return jsQR(Uint8ClampedArray.from(Buffer.from(data, "latin1")), width, height)?.data;
}

/** Where this page keeps its password, and what it is. */
async function passwordOf(page, name) {
  const kept = await page.evaluate((name) => sessionStorage.getItem(`inbox:${name}:/inbox`), name);
  return JSON.parse(kept).password;
}

test("the QR code contains the link, in light and dark mode, and the page shows no password", async () => {
  for (const colorScheme of ["light", "dark"]) {
    for (const [name, opens] of [["files", async (page) => {
      await page.goto(`${reachable}files`);
      await reaches(page, "waiting");
    }], ["call", (page) => waits(page, reachable, { wish: "none" })]]) {
      const page = await person(browser, { colorScheme, viewport: { width: 390, height: 844 } });
      await opens(page);
      const link = await page.inputValue("#link");
      assert.match(link, new RegExp(`^https://inbox\\.test:\\d+/${name}#to=[0-9a-z]{26}$`));
      assert.equal(await scan(page), link);
      const password = await passwordOf(page, name);
      assert.match(password, /^[0-9a-z]{26}$/);
      assert.ok(!link.includes(password));
      assert.ok(!(await page.content()).includes(password));
      assert.ok(!page.url().includes(password));
      assert.equal(await page.isVisible("#try-here"), false);
      await page.context().close();
    }
  }
});

test("the code contains ids of any characters, and is hidden when it would be too large", async () => {
  const alice = await person(browser);
  const link = await waits(alice, reachable, { id: "Zoë 👩‍🚀 とり", wish: "none" });
  assert.equal(await scan(alice), link);
  await alice.click("#invite [data-leave]");
  await waits(alice, reachable, { id: "x".repeat(500), wish: "none" });
  assert.equal(await alice.isHidden("#qr"), true);
  await alice.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await alice.click("#copy-link");
  await alice.waitForSelector("#copied:has-text('Copied')");
  assert.equal(await alice.evaluate(() => navigator.clipboard.readText()), await alice.inputValue("#link"));
});

test("an address that works on this computer only is not offered for sharing, but can be tried here", async () => {
  for (const host of ["localhost", "127.0.0.1", "inbox.localhost"]) {
    for (const name of ["files", "call"]) {
      const page = await person(browser);
      const url = server.url.replace("127.0.0.1", host);
      if (name === "call") await waits(page, url, { wish: "none" });
      else {
        await page.goto(`${url}files`);
        await reaches(page, "waiting");
      }
      for (const id of ["#qr", "#link", "#copy-link", "#share-link"]) assert.equal(await page.isVisible(id), false, `${id} on ${host}`);
      assert.match(await page.innerText("#invite"), /on this computer only/);
      if (host !== "localhost") {
        await page.context().close();
        continue;
      }
      const [second] = await Promise.all([page.context().waitForEvent("page"), page.click("#try-here")]);
      if (name === "call") await fillSetup(second, { wish: "none" });
      await Promise.all([reaches(page, "connected"), reaches(second, "connected")]);
      await page.context().close();
    }
  }
});

test("a guest over plain HTTP is led to https with the same link", async () => {
  const plain = await startServer();
  const host = plain.url.replace("127.0.0.1", "inbox.test");
  const guest = await person(browser);
  for (const [name, problem] of [["call", "insecure"], ["files", "files-insecure"]]) {
    await guest.goto(`${host}${name}#to=somebody`);
    const text = await guest.innerText(`[data-problem="${problem}"]`);
    assert.match(text, /https/);
    assert.doesNotMatch(text, /--tls/);
    const [request] = await Promise.all([
      guest.waitForEvent("request", (request) => request.isNavigationRequest()),
      guest.click(`[data-problem="${problem}"] button`),
    ]);
    assert.equal(request.url().replace(/#.*/, ""), `${host}${name}`.replace("http:", "https:"));
    await guest.goto("about:blank");
  }
  // On the port of HTTPS, the server redirects.
  await guest.goto(`${reachable.replace("https:", "http:")}call#to=somebody`);
  assert.equal(guest.url(), `${reachable}call#to=somebody`);
  await reaches(guest, "setup");
  assert.equal(await guest.locator("#notices li").count(), 0);
});

test("the bundled libraries have the versions in package.json", () => {
  const folder = mkdtempSync(join(tmpdir(), "inbox-vendor-"));
  try {
    const here = join(import.meta.dirname, "..");
    execFileSync(process.execPath, ["vendor.js", folder], { cwd: here });
    for (const file of ["qr.js", "zip.js"]) {
      const [built, kept] = [join(folder, file), join(here, "demo/assets", file)].map((name) => readFileSync(name, "utf8"));
      assert.ok(built === kept, `demo/assets/${file} is outdated: run npm run vendor`);
      assert.match(kept, /Permission is hereby granted/);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});
