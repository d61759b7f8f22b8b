/**
 * Builds the package. tsc checks the sources and writes modules and declarations to
 * build/. esbuild bundles each entry point, terser shortens it, and the result goes to
 * dist/, with source maps and with the declarations that users can reach.
 *
 *     node build.js [DIRECTORY]   where build/ and dist/ go; this folder by default
 *
 * A release sets INBOX_VERSION; else the version is that of package.json.
 */

import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { minify } from "terser";

/** Properties that only our own modules use: esbuild shortens their names. */
const INTERNAL = [
  "abandonedAt", "acknowledge", "adopt", "agreed", "answered", "ask", "begin", "busy", "closeCount", "closing", "connected",
  "content", "create", "deliver", "end", "fail", "failure", "first", "handle", "handled", "hold", "inFlight",
  "interruptedAt", "known", "nextReport", "onmove", "onroom", "opened", "options", "over", "peer", "pending", "polite", "position",
  "queue", "refused", "repeat", "reportError", "ringing", "sendSignal", "server", "shared", "start", "started", "success",
  "waiting", "wake", "wasConnected",
];

const here = dirname(fileURLToPath(import.meta.url));
const folder = resolve(process.argv[2] ?? here);
const [built, out] = [join(folder, "build"), join(folder, "dist")];
const version = process.env.INBOX_VERSION ?? JSON.parse(readFileSync(join(here, "package.json"), "utf8")).version;

for (const old of [built, out]) rmSync(old, { recursive: true, force: true });
const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
execFileSync(process.execPath, [tsc, "--project", here, "--outDir", built], { stdio: "inherit" });

mkdirSync(out, { recursive: true });
/** The properties of an inbox that rooms.js and codes.js use. All files need the same short names for them. */
const SHARED = ["ask", "closing", "content", "inFlight", "onroom", "server", "shared", "success"];
const ROOMS = [...SHARED, "change", "ends", "handle", "known", "mine", "news", "next", "timer", "tries", "wake"];
const MANGLED = { messaging: INTERNAL, inbox: INTERNAL, rooms: ROOMS, codes: SHARED, trystero: [] };
let mangleCache = {};

for (const entry of ["messaging", "inbox", "rooms", "codes", "trystero"]) {
  const result = await build({
    entryPoints: [join(here, "src", `${entry}.ts`)],
    // esbuild writes nothing. The name makes the sources in the map relative to dist/.
    outfile: join(here, "dist", `${entry}.js`),
    write: false,
    bundle: true,
    external: entry === "rooms" ? ["./inbox.js"] : [],
    sourcemap: "external",
    minifySyntax: true,
    format: "esm",
    target: "es2022",
    mangleProps: new RegExp(`^(${MANGLED[entry].join("|")})$`),
    mangleCache,
    logLevel: "warning",
  });
  mangleCache = result.mangleCache;
  // Each of the two has the best names for the properties that only it uses.
  if (entry === "messaging") mangleCache = Object.fromEntries(SHARED.map((name) => [name, mangleCache[name]]));
  const [map, bundle] = result.outputFiles;
  // terser chooses names that compress 5 % better than those of esbuild.
  const shipped = await minify(bundle.text, {
    module: true,
    ecma: 2020,
    compress: { passes: 3, sequences: false, booleans: false, pure_getters: true, unsafe_arrows: true },
    format: { preamble: `//! inbox ${version}` },
    sourceMap: { filename: `${entry}.js`, content: map.text, includeSources: true, url: `${entry}.js.map` },
  });
  writeFileSync(join(out, `${entry}.js`), `${shipped.code}\n`);
  writeFileSync(join(out, `${entry}.js.map`), shipped.map);
}

// The deprecated name of messaging.js.
writeFileSync(join(out, "mailbox.js"), 'export * from "./messaging.js"; // deprecated: import messaging.js\n');

// Only the declarations that an entry point reaches are shipped.
const reached = new Set();
const reach = (module) => {
  if (reached.has(module)) return;
  reached.add(module);
  const declarations = readFileSync(join(built, `${module}.d.ts`), "utf8");
  writeFileSync(join(out, `${module}.d.ts`), declarations);
  // The map leads to src/, which is shipped too, wherever build/ is.
  const map = JSON.parse(readFileSync(join(built, `${module}.d.ts.map`), "utf8"));
  writeFileSync(join(out, `${module}.d.ts.map`), JSON.stringify({ ...map, sources: [`../src/${module}.ts`] }));
  for (const [, next] of declarations.matchAll(/from "\.\/([^"]+)\.js"/g)) reach(next);
};
reach("inbox");
reach("rooms");
reach("codes");
reach("trystero");
