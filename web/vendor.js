/**
 * Bundles what the pages take from npm, as demo/assets/qr.js:
 *
 *     node vendor.js [DIRECTORY]
 */

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const library = join(here, "node_modules/lean-qr");
const { version } = JSON.parse(readFileSync(join(library, "package.json"), "utf8"));
const license = readFileSync(join(library, "LICENSE"), "utf8").trim();

await build({
  stdin: { contents: 'export { generate } from "lean-qr";', resolveDir: here },
  outfile: join(process.argv[2] ?? join(here, "demo/assets"), "qr.js"),
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  banner: { js: `/*! Built by vendor.js from lean-qr ${version}.\n\n${license}\n*/` },
  logLevel: "warning",
});
