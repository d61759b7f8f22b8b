/** The shipped files: their sizes, names, exports and documentation. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { test } from "node:test";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { install, root } from "../support/packed.js";

const require = createRequire(import.meta.url);
const served = join(root, "../dist");
const read = (name) => readFileSync(join(root, name), "utf8");
const run = (script, ...given) => execFileSync(process.execPath, [script, ...given], { cwd: root, encoding: "utf8" });

// The goals were 4 and 8 KiB. A separate error for each kind of answer that does not
// come from an inbox server, and an inbox that is closed and reopened, did not fit into them.
for (const [name, budget] of [["messaging.js", 5264], ["inbox.js", 9824], ["rooms.js", 2048], ["codes.js", 1024], ["trystero.js", 1024]]) {
  // gzip is larger than brotli, and every server can compress with it.
  test(`${name} is at most ${budget} bytes after gzip`, (t) => {
    const content = readFileSync(join(served, name));
    const size = gzipSync(content, { level: 9 }).length;
    t.diagnostic(`${content.length} bytes, ${size} after gzip, ${brotliCompressSync(content).length} after brotli`);
    assert.ok(size <= budget, `${size} bytes`);
  });
}

test("two builds are identical", () => {
  const folder = mkdtempSync(join(tmpdir(), "inbox-sdk-"));
  try {
    run("build.js", folder);
    const names = readdirSync(join(folder, "dist")).sort();
    assert.deepEqual(names, readdirSync(join(root, "dist")).sort());
    for (const name of names) assert.equal(readFileSync(join(folder, "dist", name), "utf8"), read(`dist/${name}`), name);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("the server's copy is up to date", () => {
  assert.deepEqual(readdirSync(served).sort(), ["codes.js", "inbox.js", "mailbox.js", "messaging.js", "rooms.js", "trystero.js"]);
  for (const name of readdirSync(served)) {
    // The server does not serve the source maps.
    const built = read(`dist/${name}`).replace(/^\/\/# sourceMappingURL=.*\n/m, "");
    assert.ok(readFileSync(join(served, name), "utf8") === built, `web/dist/${name} is out of date (try: make dist)`);
  }
});

const { project, folder } = install();

test("the package contains what it should, and nothing else", () => {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const scripts = ["inbox.js", "messaging.js", "rooms.js", "codes.js", "trystero.js"];
  const declarations = ["accept", "call-error", "codes", "connect", "errors", "ids", "inbox", "message", "messaging", "receive", "rooms", "send", "trystero"].map((name) => `${name}.d.ts`);
  assert.deepEqual(files.map((entry) => relative(folder, join(entry.parentPath ?? entry.path, entry.name))).sort(), [
    "LICENSE",
    "README.md",
    ...["mailbox.js", ...[...scripts, ...declarations].flatMap((name) => [name, `${name}.map`])].map((name) => `dist/${name}`),
    "codes/package.json",
    "mailbox/package.json",
    "messaging/package.json",
    "rooms/package.json",
    "package.json",
    "trystero/package.json",
    ...readdirSync(join(root, "src")).map((name) => `src/${name}`),
  ].sort());
});

test("the manifest is complete", () => {
  const manifest = JSON.parse(read("package.json"));
  for (const name of ["name", "version", "description", "keywords", "license", "engines", "exports", "main", "types", "files"]) assert.ok(manifest[name], name);
  assert.deepEqual([manifest.private, manifest.sideEffects], [undefined, false]);
});

test("the package has no dependencies, and the lockfile names no registry", () => {
  const { dependencies, peerDependencies, optionalDependencies, devDependencies } = JSON.parse(read("package.json"));
  assert.deepEqual([dependencies, peerDependencies, optionalDependencies], [undefined, undefined, undefined]);
  for (const version of Object.values(devDependencies)) assert.match(version, /^\d+\.\d+\.\d+$/);
  assert.doesNotMatch(read("package-lock.json"), /"resolved"/);
});

test("Node can import the entry points, and no other file", () => {
  writeFileSync(join(project, "names.js"), `
    const names = [];
    for (const name of ["@inbox/sdk", "@inbox/sdk/messaging", "@inbox/sdk/mailbox", "@inbox/sdk/rooms", "@inbox/sdk/codes", "@inbox/sdk/trystero"]) names.push(Object.keys(await import(name)).sort());
    names.push(await import("@inbox/sdk/dist/inbox.js").catch(({ code }) => code));
    console.log(JSON.stringify(names));
  `);
  assert.deepEqual(JSON.parse(run(join(project, "names.js"))), [
    ["CallError", "Inbox", "InboxError", "accept", "connect", "randomId", "randomPassword"],
    ["Inbox", "InboxError", "randomId", "randomPassword"],
    ["Inbox", "InboxError", "randomId", "randomPassword"],
    ["join"],
    ["createCode", "redeemCode"],
    ["topics"],
    "ERR_PACKAGE_PATH_NOT_EXPORTED",
  ]);
});

test("random ids and passwords are readable and differ", async () => {
  const { randomId, randomPassword } = await import("../../dist/inbox.js");
  const made = new Set(Array.from({ length: 1000 }, (_, i) => (i % 2 ? randomId() : randomPassword())));
  assert.equal(made.size, 1000);
  for (const one of made) assert.match(one, /^[0-9abcdefghjkmnpqrstvwxyz]{26}$/);
});

test("declarations show nothing internal", () => {
  for (const name of readdirSync(join(root, "dist")).filter((name) => name.endsWith(".d.ts"))) {
    const declarations = read(`dist/${name}`);
    assert.doesNotMatch(declarations, /@internal/, name);
    assert.doesNotMatch(declarations.replace(/\/\*\*[^]*?\*\//g, ""), /\b(Receiver|Link|Server|Owner|WireMessage|RoomEvent|OwnRoom|Side|Calls)\b/, name);
  }
});

test("every exported name is documented", () => {
  // One warning is enough to fail.
  run(join(dirname(require.resolve("typedoc/package.json")), "bin/typedoc"), "--emit", "none", "--logLevel", "Warn");
});
