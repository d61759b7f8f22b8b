/** Runs every case against every server, and writes who passes into docs/peerjs.md. */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cases, large } from "./cases.js";
import { Stage, startBrowser, stopAll, targets } from "./support.js";

const titles = { ...cases, ...large };
const results = new Map(Object.keys(titles).map((title) => [title, []]));
try {
  await startBrowser();
  for (const target of Object.keys(targets)) {
    const servers = new Map();
    for (const [title, run] of Object.entries(titles)) {
      const stage = new Stage(target, servers, 15_000);
      try {
        await run(stage);
        results.get(title).push("yes");
      } catch (error) {
        process.stderr.write(`${target}: ${title}: ${error.message}\n`);
        results.get(title).push("**no**");
      } finally {
        await stage.end();
      }
    }
  }
} finally {
  await stopAll();
}
const lines = [
  `| what the client does | ${Object.keys(targets).join(" | ")} |`,
  `|---|${"---|".repeat(Object.keys(targets).length)}`,
  ...[...results].map(([title, passed]) => `| ${title.replace(/^\+ /, "")} | ${passed.join(" | ")} |`),
];
const file = join(import.meta.dirname, "../../docs/peerjs.md");
const [start, end] = ["<!-- table of the tests: npm run table, in web/peerjs -->\n", "<!-- end of the table -->"];
const text = readFileSync(file, "utf8");
const [from, to] = [text.indexOf(start), text.indexOf(end)];
if (from < 0 || to < 0) throw new Error("docs/peerjs.md has no place for the table");
writeFileSync(file, `${text.slice(0, from)}${start}${lines.join("\n")}\n${text.slice(to)}`);
