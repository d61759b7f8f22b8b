/** The package as users get it: packed, and installed in a new project. */

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

export const root = resolve(import.meta.dirname, "../..");

/** Runs npm and returns its output. npm itself sets npm_execpath for its scripts. */
function npm(cwd, ...given) {
  const { npm_execpath: script } = process.env;
  const [program, ...first] = script ? [process.execPath, script] : ["npm"];
  return execFileSync(program, [...first, ...given], { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

/** Packs what `npm run build` made, and installs the tarball in a new project. Nothing is downloaded. */
export function install() {
  const project = mkdtempSync(join(tmpdir(), "inbox-sdk-"));
  process.on("exit", () => rmSync(project, { recursive: true, force: true }));
  writeFileSync(join(project, "package.json"), JSON.stringify({ name: "consumer", private: true, type: "module" }));
  const [{ filename }] = Object.values(JSON.parse(npm(root, "pack", "--json", "--ignore-scripts", "--pack-destination", project)));
  const tarball = join(project, filename);
  npm(project, "install", "--offline", "--no-audit", "--no-fund", tarball);
  return { project, tarball, folder: join(project, "node_modules/@inbox/sdk") };
}
