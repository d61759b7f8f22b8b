/**
 * Bundles the libraries that the pages use from npm, one file each in demo/assets:
 *
 *     node vendor.js [DIRECTORY]
 */

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));

/** @type {{library: string, exports: string[], license: string, file: string}[]} */
const bundles = [
  { library: "lean-qr", exports: ["generate"], license: "LICENSE", file: "qr.js" },
  { library: "client-zip", exports: ["makeZip", "predictLength"], license: "LICENSE.txt", file: "zip.js" },
];

for (const { library, exports, license, file } of bundles) {
  const read = (/** @type {string} */ name) => readFileSync(join(here, "node_modules", library, name), "utf8").trim();
  const { version } = JSON.parse(read("package.json"));
  await build({
    stdin: { contents: `export { ${exports.join(", ")} } from "${library}";`, resolveDir: here },
    outfile: join(process.argv[2] ?? join(here, "demo/assets"), file),
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    banner: { js: `/*! Built by vendor.js from ${library} ${version}.\n\n${read(license)}\n*/` },
    logLevel: "warning",
  });
}
