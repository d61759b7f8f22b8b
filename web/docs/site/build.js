/**
 * Builds a site of all documents in build/docs, with search, the API of the SDK and of the Go
 * client, and the HTTP API. It loads nothing from elsewhere. A link that leads nowhere is an error.
 */

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, posix } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "vitepress";
import { root } from "../blocks.js";
import { writeSources } from "./sources.js";

const sources = join(root, "build/docs-sources");
const site = process.argv[2] ?? join(root, "build/docs");

rmSync(sources, { recursive: true, force: true });
for (const [file, module] of [["config.mjs", pathToFileURL(join(import.meta.dirname, "config.js")).href], ["theme/index.js", join(import.meta.dirname, "theme.js")]]) {
  mkdirSync(dirname(join(sources, ".vitepress", file)), { recursive: true });
  writeFileSync(join(sources, ".vitepress", file), `export { default } from ${JSON.stringify(module)};\n`);
}
symlinkSync(join(import.meta.dirname, "../node_modules"), join(sources, "node_modules")); // pages import vue
writeSources(sources);

const require = createRequire(import.meta.url);
execFileSync(process.execPath, [
  join(dirname(require.resolve("typedoc/package.json")), "bin/typedoc"), "--options", "typedoc.json", "--plugin", require.resolve("typedoc-plugin-markdown"),
  "--readme", "none", "--entryFileName", "index.md", "--out", join(sources, "api"), "--name", "SDK: API", "--hideBreadcrumbs", "--hidePageHeader", "--logLevel", "Warn",
], { cwd: join(root, "web/sdk"), stdio: "inherit" });

await build(sources, { outDir: site });
check(site);
console.log(`${site}: to read it, serve it: python3 -m http.server --directory ${site} 8080`);

/** Fails when a page links to a page or a heading that does not exist, or loads something from elsewhere. */
function check(folder) {
  const pages = new Map();
  for (const path of readdirSync(folder, { recursive: true })) {
    if (path.endsWith(".html")) pages.set(`/${path.replaceAll("\\", "/")}`, readFileSync(join(folder, path), "utf8"));
  }
  if (pages.size < 30) throw new Error(`only ${pages.size} pages`);
  const faults = [];
  for (const [path, html] of pages) {
    for (const [, url] of html.matchAll(/<(?:script|link|img|iframe)[^>]* (?:src|href)="([^"]*)"/g)) {
      if (/^(https?:)?\/\//.test(url)) faults.push(`${path} loads ${url}`);
    }
    for (const [, url] of html.matchAll(/<a [^>]*?href="([^"]*)"/g)) {
      if (/^[a-z]+:/.test(url)) continue;
      const [to, fragment] = decodeURIComponent(url).split("#");
      const target = to === "" ? path : posix.join(posix.dirname(path), to.startsWith("/") ? posix.relative(posix.dirname(path), to) : to).replace(/(^|\/)$/, "$1index.html");
      const page = pages.get(target) ?? pages.get(`${target}.html`);
      if (!page && existsSync(join(folder, target))) continue; // no page: openapi.yaml
      if (!page) faults.push(`${path} links to ${url}`);
      else if (fragment && !page.includes(`id="${fragment}"`)) faults.push(`${path} links to ${url}: no such heading`);
    }
  }
  if (faults.length > 0) throw new Error(`the site has ${faults.length} faults:\n${[...new Set(faults)].join("\n")}`);
}
