/**
 * Builds the package: types and readable modules with tsc (build/), and from
 * these the files that are shipped (dist/).
 *
 *     node build.js [DIRECTORY for both, instead of this one]
 */

import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { minify } from "terser";

/** Names of properties that only our own modules see: they are for readers, and short for browsers. */
const INTERNAL = [
  "adopt", "agreed", "answered", "begin", "busy", "closes", "closing", "connected", "content", "create", "due", "end", "fail",
  "failure", "first", "form", "handled", "hear", "hold", "interrupted", "known", "left", "onmove", "opened", "options", "over",
  "peer", "pending", "place", "polite", "position", "queue", "refused", "repeat", "ringing", "say", "server", "start", "started",
  "take", "tell", "told", "waiting", "wake", "worked",
];

const here = dirname(fileURLToPath(import.meta.url));
const folder = resolve(process.argv[2] ?? here);
const [built, out] = [join(folder, "build"), join(folder, "dist")];
const { version } = JSON.parse(readFileSync(join(here, "package.json"), "utf8"));

for (const old of [built, out]) rmSync(old, { recursive: true, force: true });
const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
execFileSync(process.execPath, [tsc, "--project", here, "--outDir", built], { stdio: "inherit" });

for (const entry of ["inbox", "messaging"]) {
  const { outputFiles } = await build({
    entryPoints: [join(here, "src", `${entry}.ts`)],
    bundle: true,
    write: false,
    minifySyntax: true,
    format: "esm",
    target: "es2022",
    mangleProps: new RegExp(`^(${INTERNAL.join("|")})$`),
    logLevel: "warning",
  });
  // Its names compress better than those of esbuild: 5 % less.
  const { code } = await minify(outputFiles[0].text, {
    module: true,
    ecma: 2020,
    compress: { passes: 3, sequences: false },
    format: { preamble: `//! inbox ${version}` },
  });
  mkdirSync(out, { recursive: true });
  writeFileSync(join(out, `${entry}.js`), `${code}\n`);
}

// The former name of messaging.js.
writeFileSync(join(out, "mailbox.js"), 'export * from "./messaging.js"; // deprecated: import messaging.js\n');

// Of the declarations, only those that a user can reach.
const reached = new Set();
const reach = (name) => {
  if (reached.has(name)) return;
  reached.add(name);
  const from = join(built, name);
  for (const [, next] of readFileSync(from, "utf8").matchAll(/from "\.\/([^"]+)\.js"/g)) reach(`${next}.d.ts`);
  mkdirSync(out, { recursive: true });
  copyFileSync(from, join(out, name));
};
reach("inbox.d.ts");
