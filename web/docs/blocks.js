/** The code in documents, and what runs it. */

import { execFile, spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { folder } from "../e2e/server.js";

/** The top of the repository. */
export const root = resolve(import.meta.dirname, "../..");

/** Keeps what the tests of a file write. */
export const scratch = folder();

/**
 * The fenced blocks of a document, in their order.
 * @param {string} path from the top of the repository
 * @returns {{language: string, name: string, code: string}[]} name: the text after the language
 */
export function blocks(path) {
  const text = readFileSync(join(root, path), "utf8");
  return [...text.matchAll(/^( *)```(\S*) ?([^\n]*)\n([^]*?)^\1```$/gm)].map(([, indent, language, name, code]) =>
    ({ language, name, code: code.replaceAll(new RegExp(`^${indent}`, "gm"), "") }));
}

/** Returns a block of code with the address of a test's server. */
export function aimed(code, server) {
  return code.replaceAll("localhost:3000", new URL(server.local).host);
}

/** Saves a page as a reader does. @returns {string} its address */
export function saved(name, html) {
  const file = join(scratch, name);
  writeFileSync(file, html);
  return pathToFileURL(file).href;
}

/**
 * Runs a block in a shell.
 * @returns {Promise<{stdout: string, stderr: string}>}
 */
export function shell(code, { shell = "bash", ...options } = {}) {
  return promisify(execFile)(shell, ["-eu", "-c", code], { cwd: root, timeout: 60_000, ...options });
}

/**
 * Starts a server with a command line of a document.
 * @param {string} line
 */
export async function startByLine(line) {
  const child = spawn("bash", ["-c", line], {
    cwd: root,
    detached: true, // `go run` starts the server as its child
    stdio: ["ignore", "ignore", "pipe"],
    env: { ...process.env, INBOX_LISTEN: "127.0.0.1:0", INBOX_TURN_LISTEN: "127.0.0.1:0", INBOX_DRAIN: "1s", XDG_STATE_HOME: scratch },
  });
  let log = "";
  const stop = () => {
    try {
      process.kill(-child.pid, "SIGKILL");
    } catch {}
  };
  process.on("exit", stop);
  const url = await new Promise((resolve, reject) => {
    child.stderr.on("data", (chunk) => {
      log += chunk;
      const listening = /url=(https?:\/\/\S+)/.exec(log);
      if (listening) resolve(listening[1]);
    });
    child.once("exit", (code) => reject(new Error(`“${line}” ended with ${code}:\n${log}`)));
    child.once("error", reject);
  });
  return { url, local: url.replace("127.0.0.1", "localhost"), stop };
}
