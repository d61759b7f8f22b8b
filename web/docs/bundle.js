/** Builds what a document shows as a reader's bundler does. */

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";
import { compileScript, parse } from "vue/compiler-sfc";
import { root, scratch } from "./blocks.js";

/** Compiles components of Vue. @type {import("esbuild").Plugin} */
const vue = {
  name: "vue",
  setup(build) {
    build.onLoad({ filter: /\.vue$/ }, ({ path }) => {
      const { descriptor, errors } = parse(readFileSync(path, "utf8"), { filename: path });
      if (errors.length > 0) throw errors[0];
      const id = createHash("sha256").update(path).digest("hex").slice(0, 8);
      return { contents: compileScript(descriptor, { id, inlineTemplate: true }).content, loader: "js" };
    });
  },
};

/**
 * Bundles files of a document into one script.
 * @param {string} name of the bundle
 * @param {{[name: string]: string}} files
 * @param {string} entry one of them
 * @returns {Promise<string>}
 */
export async function bundle(name, files, entry) {
  const folder = join(scratch, name);
  mkdirSync(folder, { recursive: true });
  for (const [file, code] of Object.entries(files)) writeFileSync(join(folder, file), code);
  const { outputFiles, warnings } = await build({
    entryPoints: [join(folder, entry)],
    bundle: true,
    format: "esm",
    write: false,
    jsx: "automatic",
    define: { "process.env.NODE_ENV": '"development"', global: "globalThis", __VUE_OPTIONS_API__: "true", __VUE_PROD_DEVTOOLS__: "false", __VUE_PROD_HYDRATION_MISMATCH_DETAILS__: "false" },
    alias: { "@inbox/sdk/messaging": join(root, "web/dist/messaging.js"), "@inbox/sdk": join(root, "web/dist/inbox.js") },
    nodePaths: [join(import.meta.dirname, "node_modules")],
    plugins: [vue],
    logLevel: "silent",
  });
  if (warnings.length > 0) throw new Error(warnings[0].text);
  return outputFiles[0].text;
}
