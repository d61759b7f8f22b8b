/** Go programs and pages with the SDK connect through a real server: examples/pion, and the command line. */

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { TIMEOUT, assertNoFaults, closeBrowsers, launch, person } from "./browser.js";
import { startServer, stopServers } from "./server.js";

const root = new URL("../..", import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), "inbox-e2e-go-"));

let server, browser;
/** @type {Set<import("node:child_process").ChildProcess>} */
const running = new Set();

before(async () => {
  for (const [name, from, what] of [["pion", "examples/pion", "."], ["inbox", ".", "./cmd/inbox"]]) {
    execFileSync("go", ["build", "-o", join(folder, name), what], { cwd: join(root, from), stdio: ["ignore", "ignore", "inherit"] });
  }
  server = await startServer();
  browser = await launch({ camera: false, names: false });
}, { timeout: 300_000 });
afterEach(() => assertNoFaults());
after(async () => {
  for (const child of running) child.kill("SIGKILL");
  await closeBrowsers();
  await stopServers();
  rmSync(folder, { recursive: true, force: true });
});

/** Starts one of the programs for this server. */
function start(name, args, options = {}) {
  const child = spawn(join(folder, name), args, {
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, INBOX_SERVER: new URL("inbox", server.url).href, INBOX_PASSWORD: "secret" },
    ...options,
  });
  running.add(child);
  child.once("exit", () => running.delete(child));
  return child;
}

/** Returns the output of a program that ended successfully. */
async function output(child, input) {
  const out = [];
  let err = "";
  child.stdout.on("data", (chunk) => out.push(chunk));
  child.stderr.on("data", (chunk) => (err += chunk));
  child.stdin.end(input);
  const [code] = await once(child, "close");
  assert.equal(code, 0, err);
  return Buffer.concat(out);
}

/** Waits for a line in the log of a program. */
async function logs(child, pattern) {
  let log = "";
  for await (const chunk of child.stderr.iterator({ destroyOnReturn: false })) {
    log += chunk;
    if (pattern.test(log)) return;
  }
  assert.fail(`the program has ended:\n${log}`);
}

/** Opens a page with the SDK and an inbox. */
async function pageOf(id) {
  const page = await person(browser);
  await page.goto(server.local);
  await page.evaluate(async (id) => {
    window.sdk = await import(new URL("inbox.js", location.href).href);
    window.inbox = new window.sdk.Inbox(new URL("inbox", location.href).href, { id, password: "secret" });
  }, id);
  return page;
}

test("a page connects to the pion example, survives an ICE restart, and hangs up", { timeout: 3 * TIMEOUT }, async () => {
  const pion = start("pion", ["-server", new URL("inbox", server.url).href, "-id", "pion"]);
  const page = await pageOf("page");
  const echoes = await page.evaluate(async () => {
    const pc = await sdk.connect(inbox, "pion", { wait: 30_000 });
    window.pc = pc;
    const channel = pc.createDataChannel("echo");
    channel.binaryType = "arraybuffer";
    await new Promise((resolve) => (channel.onopen = resolve));
    const echo = (data) => new Promise((resolve) => {
      channel.onmessage = ({ data }) => resolve(typeof data === "string" ? data : [...new Uint8Array(data)]);
      channel.send(data);
    });
    const heard = [await echo("hello 👋"), await echo(new Uint8Array([0, 255, 10])), (await echo("x".repeat(60_000))).length];
    const ufrag = () => /ice-ufrag:(\S+)/.exec(pc.remoteDescription.sdp)[1];
    const before = ufrag();
    pc.restartIce();
    while (ufrag() === before) await new Promise((resolve) => setTimeout(resolve, 20));
    heard.push(await echo("still there?"));
    return heard;
  });
  assert.deepEqual(echoes, ["hello 👋", [0, 255, 10], 60_000, "still there?"]);

  // A second call between the same two peers during the first.
  assert.equal(await page.evaluate(async () => {
    const pc = await sdk.connect(inbox, "pion");
    const channel = pc.createDataChannel("echo");
    await new Promise((resolve) => (channel.onopen = resolve));
    channel.send("two");
    return new Promise((resolve) => (channel.onmessage = ({ data }) => resolve(data)));
  }), "two");

  // Each side is notified when the other one hangs up.
  const ended = logs(pion, /msg="call ended"/);
  await page.evaluate(() => window.pc.close());
  await ended;
  const third = page.evaluate(async () => {
    const pc = await sdk.connect(inbox, "pion");
    window.connected = true;
    return new Promise((resolve) => {
      pc.onconnectionstatechange = () => pc.connectionState === "closed" && resolve("closed");
    });
  });
  await page.waitForFunction(() => window.connected);
  pion.kill("SIGTERM");
  assert.equal(await third, "closed");
  await page.evaluate(() => inbox.close());
  await page.context().close();
});

test("the command line and a page exchange text and bytes", { timeout: 3 * TIMEOUT }, async () => {
  const page = await pageOf("böb the page");
  const received = page.evaluate(async () => {
    const got = [];
    for await (const { from, text, bytes } of inbox.messages()) {
      got.push({ from, text, bytes: [...bytes] });
      if (got.length === 2) return got;
    }
  });
  const send = (input) => output(start("inbox", ["send", "--id", "shell", "--to", "böb the page", "--wait", "30s"]), input);
  await send("hello, page\n");
  await send(Buffer.from([0, 255, 128]));
  const [text, bytes] = await received;
  assert.equal(text.from, "shell");
  assert.equal(text.text, "hello, page\n");
  assert.deepEqual(bytes.bytes, [0, 255, 128]);

  const receive = output(start("inbox", ["receive", "--id", "shell", "--timeout", "30s"]));
  await page.evaluate(() => inbox.send("shell", new Uint8Array([10, 0, 255]), { wait: 30_000 }));
  assert.deepEqual([...(await receive)], [10, 0, 255]);
  await page.evaluate(() => inbox.close());
  await page.context().close();
});
