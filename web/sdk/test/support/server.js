/** The real server, started as a person starts it. */

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dirname, "../../../..");

/** @type {string | undefined} */
let built;

/** The program: named by INBOX_BIN, or built. */
function program() {
  if (process.env.INBOX_BIN) return resolve(process.env.INBOX_BIN);
  if (built === undefined) {
    const folder = mkdtempSync(join(tmpdir(), "inbox-sdk-"));
    process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
    built = join(folder, "inbox");
    execFileSync("go", ["build", "-o", built, "./cmd/inbox"], { cwd: root, stdio: ["ignore", "ignore", "inherit"] });
  }
  return built;
}

/** @type {Set<import("node:child_process").ChildProcess>} */
const running = new Set();

/** Ends every server that a test has left. */
export async function stopServers() {
  await Promise.all([...running].map((child) => end(child, "SIGKILL")));
}

async function end(child, signal) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill(signal);
  await exited;
}

/**
 * Starts a server and waits until it listens.
 * @param {string[]} flags
 * @param {number} port a free one, if nothing is given
 */
export async function startServer(flags = [], port = 0) {
  const child = spawn(program(), ["serve", "--listen", `127.0.0.1:${port}`, "--drain", "500ms", ...flags], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  running.add(child);
  child.once("exit", () => running.delete(child));
  let log = "";
  const url = await new Promise((resolve, reject) => {
    child.stderr.on("data", (chunk) => {
      log += chunk;
      const listening = /url=(https?:\/\/\S+)/.exec(log);
      if (listening) resolve(listening[1]);
    });
    child.once("exit", (code) => reject(new Error(`the server ended with ${code}:\n${log}`)));
    child.once("error", reject);
  });
  return {
    /** The address of the inbox. */
    url: new URL("inbox", url).href,
    port: Number(new URL(url).port),
    log: () => log,
    /** Ends it as a crash does. */
    kill: () => end(child, "SIGKILL"),
    stop: () => end(child, "SIGTERM"),
  };
}
