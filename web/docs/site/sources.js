/** Turns the repository's documents into the sources of the site, in which every link stays within the site. */

import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, extname, join, posix } from "node:path";
import { root } from "../blocks.js";
import { openapiPage } from "./openapi.js";

/** Documents that are not in docs/, and the page that each becomes. */
const PAGES = {
  "README.md": "index.md",
  "docs/README.md": "documentation.md",
  "docs/openapi.yaml": "http-api.md",
  "web/sdk/README.md": "sdk.md",
  "examples/README.md": "examples.md",
  "CONTRIBUTING.md": "contributing.md",
  "SECURITY.md": "security.md",
  "CHANGELOG.md": "changelog.md",
};

/** The languages of files without an extension that says so. */
const LANGUAGES = { ".yml": "yaml", ".conf": "nginx", ".service": "ini", ".socket": "ini", ".cfg": "txt", ".mod": "txt", "": "txt" };

/** Parts of a document that are not code: links in code are not links. */
const PROSE = /(^ *```[^]*?^ *```$|`[^`\n]*`)/m;

/**
 * @param {string} folder where the sources go
 * @returns {{[page: string]: string}} the document that each page comes from
 */
export function writeSources(folder) {
  const origins = {};
  const wanted = Object.keys(PAGES);
  for (const name of readdirSync(join(root, "docs"))) if (name.endsWith(".md")) wanted.push(`docs/${name}`);
  /** The page of a file or a folder of the repository, which is written if it was not yet. */
  const pageOf = (path) => {
    if (existsSync(join(root, path, "README.md"))) path = posix.join(path, "README.md");
    if (!wanted.includes(path)) wanted.push(path);
    if (PAGES[path]) return PAGES[path];
    if (/^docs\/[^/]*\.md$/.test(path)) return basename(path);
    if (path.endsWith("/README.md")) return `${dirname(path)}.md`;
    return `source/${path.replaceAll(".", "-")}.md`; // index.html would be another page's address
  };
  for (const path of wanted) { // it grows meanwhile
    const page = pageOf(path);
    origins[page] = path;
    mkdirSync(dirname(join(folder, page)), { recursive: true });
    writeFileSync(join(folder, page), content(path, page, pageOf));
  }
  cpSync(join(root, "docs/images"), join(folder, "images"), { recursive: true });
  mkdirSync(join(folder, "public"));
  cpSync(join(root, "docs/openapi.yaml"), join(folder, "public/openapi.yaml"));
  cpSync(join(root, "web/demo/favicon.ico"), join(folder, "public/favicon.ico"));
  writeFileSync(join(folder, "go-client.md"), `# Go client\n\nThe output of \`go doc -all\`. [Guide for Go developers](go.md).\n\n\`\`\`\`go\n${
    execFileSync("go", ["doc", "-all", "./client"], { cwd: root, encoding: "utf8" })}\`\`\`\`\n`);
  return origins;
}

function content(path, page, pageOf) {
  const file = join(root, path);
  if (path === "docs/openapi.yaml") return openapiPage(readFileSync(file, "utf8"));
  if (statSync(file).isDirectory()) {
    const links = readdirSync(file).filter((name) => name !== "node_modules" && !statSync(join(file, name)).isDirectory())
      .map((name) => `- [${name}](${relative(page, pageOf(posix.join(path, name)))})`);
    return `# ${path}\n\n${links.join("\n")}\n`;
  }
  const text = readFileSync(file, "utf8");
  if (!path.endsWith(".md")) {
    const extension = extname(path);
    return `# ${basename(path)}\n\n\`${path}\` in the repository.\n\n\`\`\`\`\`${LANGUAGES[extension] ?? extension.slice(1)}\n${text}\n\`\`\`\`\`\n`;
  }
  return text.split(PROSE).map((part, i) => (i % 2 === 1 ? part : part.replaceAll(/\]\(([^)\s]+)\)/g, (link, target) => {
    if (/^[a-z]+:|^#/.test(target)) return link;
    const [to, fragment] = target.split("#");
    const other = posix.join(dirname(path), to);
    if (/\.(jpg|png|svg)$/.test(other)) return `](${relative(page, other.replace(/^docs\//, ""))})`;
    return `](${relative(page, pageOf(other))}${fragment ? `#${fragment}` : ""})`;
  }))).join("");
}

/** The way from one page to another. */
function relative(page, other) {
  const way = posix.relative(dirname(page), other);
  return way.startsWith(".") ? way : `./${way}`;
}
