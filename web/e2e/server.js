/** Starts the real server as a person would. */

import { spawn, execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { once } from "node:events";

const root = new URL("../..", import.meta.url).pathname;

/** @type {string | undefined} */
let built;

/** Returns the path of the program: INBOX_BIN, or a fresh build. */
export function program() {
  if (process.env.INBOX_BIN) return resolve(process.env.INBOX_BIN);
  if (built === undefined) {
    built = join(folder(), "inbox");
    execFileSync("go", ["build", "-o", built, "./cmd/inbox"], { cwd: root, stdio: ["ignore", "ignore", "inherit"] });
  }
  return built;
}

/** @type {Set<import("node:child_process").ChildProcess>} */
const running = new Set();

/**
 * Starts a program that ends with the tests.
 * @param {string} command
 * @param {string[]} args
 * @param {import("node:child_process").SpawnOptions} [options]
 */
export function run(command, args, options) {
  const child = spawn(command, args, { stdio: ["ignore", "ignore", "inherit"], ...options });
  running.add(child);
  child.once("exit", () => running.delete(child));
  return child;
}

/** Stops every program that a test left running. */
export async function stopServers() {
  await Promise.all([...running].map(async (child) => {
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
  }));
}

/** Creates a directory that is removed when the tests end. */
export function folder() {
  const made = mkdtempSync(join(tmpdir(), "inbox-e2e-"));
  process.on("exit", () => rmSync(made, { recursive: true, force: true }));
  return made;
}

/** The directory in which servers store their state, such as certificates. */
const state = folder();

/**
 * Starts a server and waits until it listens.
 * @param {string[]} flags
 * @param {{port?: number}} [options]
 */
export async function startServer(flags = [], { port = 0 } = {}) {
  const child = run(program(), ["serve", "--listen", `127.0.0.1:${port}`, "--turn-listen", "127.0.0.1:0", "--drain", "1s", ...flags], {
    stdio: ["ignore", "ignore", "pipe"],
    env: { ...process.env, XDG_STATE_HOME: state },
  });
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
  const end = async (signal) => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    child.kill(signal);
    await exited;
  };
  return {
    /** Its URL, including the base path. */
    url,
    /** The same with localhost as host, which browsers trust without TLS. */
    local: url.replace("127.0.0.1", "localhost"),
    port: Number(new URL(url).port),
    /** Kills it, like a crash. */
    kill: () => end("SIGKILL"),
    stop: () => end("SIGTERM"),
    /** Returns its log so far. */
    log: () => log,
  };
}
