/** What is shipped: how large it is, what is in it, and that others can use it. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { after, test } from "node:test";
import { brotliCompressSync, gzipSync } from "node:zlib";

const here = resolve(import.meta.dirname, "../..");
const require = createRequire(import.meta.url);
const read = (name) => readFileSync(join(here, name), "utf8");
const run = (script, ...given) => execFileSync(process.execPath, [script, ...given], { cwd: here, encoding: "utf8" });

// What a browser has to be told about each kind of answer that is no inbox server's, and
// about an inbox that is closed and opened again at once, did not fit into 4 and 8 KiB.
for (const [name, budget] of [["messaging.js", 5248], ["inbox.js", 9808]]) {
  // gzip is the larger of the two, and understood by every server.
  test(`${name} is at most ${budget} bytes, by gzip`, (t) => {
    const all = read(`dist/${name}`);
    const size = gzipSync(all, { level: 9 }).length;
    t.diagnostic(`${all.length} bytes, ${size} by gzip, ${brotliCompressSync(all).length} by brotli`);
    assert.ok(size <= budget, `${size}`);
  });
}

test("a build is the same each time", () => {
  const folder = mkdtempSync(join(tmpdir(), "inbox-sdk-"));
  try {
    run("build.js", folder);
    const names = readdirSync(join(folder, "dist")).sort();
    assert.deepEqual(names, readdirSync(join(here, "dist")).sort());
    for (const name of names) assert.equal(readFileSync(join(folder, "dist", name), "utf8"), read(`dist/${name}`), name);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("the server's copy is of this build", () => {
  const served = join(here, "../dist");
  assert.deepEqual(readdirSync(served).sort(), ["inbox.js", "mailbox.js", "messaging.js"]);
  for (const name of readdirSync(served)) {
    assert.ok(readFileSync(join(served, name), "utf8") === read(`dist/${name}`), `web/dist/${name} is old: npm run dist makes it anew`);
  }
});

/** The package as npm makes it, in a project that has it installed. */
function installed() {
  const project = mkdtempSync(join(tmpdir(), "inbox-sdk-"));
  const npm = process.env.npm_execpath ? [process.execPath, process.env.npm_execpath] : ["npm"];
  const output = execFileSync(npm[0], [...npm.slice(1), "pack", "--json", "--ignore-scripts", "--pack-destination", project], {
    cwd: here, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"],
  });
  const [{ filename }] = Object.values(JSON.parse(output));
  const folder = join(project, "node_modules/@inbox/sdk");
  mkdirSync(folder, { recursive: true });
  execFileSync("tar", ["-xzf", join(project, filename), "-C", folder, "--strip-components=1"]);
  writeFileSync(join(project, "package.json"), JSON.stringify({ type: "module" }));
  return { project, folder };
}

const { project, folder } = installed();
after(() => rmSync(project, { recursive: true }));

test("the package contains what it should, and nothing else", () => {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  assert.deepEqual(files.map((entry) => relative(folder, join(entry.parentPath ?? entry.path, entry.name))).sort(), [
    "LICENSE",
    "README.md",
    ...["accept.d.ts", "call-error.d.ts", "connect.d.ts", "errors.d.ts", "ids.d.ts", "inbox.d.ts", "inbox.js",
      "mailbox.js", "message.d.ts", "messaging.d.ts", "messaging.js", "receive.d.ts", "send.d.ts"].map((name) => `dist/${name}`),
    "package.json",
  ]);
});

test("it depends on nothing, and no address of a registry is in the lockfile", () => {
  const { dependencies, peerDependencies, optionalDependencies, devDependencies } = JSON.parse(read("package.json"));
  assert.deepEqual([dependencies, peerDependencies, optionalDependencies], [undefined, undefined, undefined]);
  for (const version of Object.values(devDependencies)) assert.match(version, /^\d+\.\d+\.\d+$/);
  assert.doesNotMatch(read("package-lock.json"), /"resolved"/);
});

test("Node can import it under its names, and nothing else of it", () => {
  writeFileSync(join(project, "names.js"), `
    const names = [];
    for (const name of ["@inbox/sdk", "@inbox/sdk/messaging", "@inbox/sdk/mailbox"]) names.push(Object.keys(await import(name)).sort());
    names.push(await import("@inbox/sdk/dist/inbox.js").catch(({ code }) => code));
    console.log(JSON.stringify(names));
  `);
  assert.deepEqual(JSON.parse(run(join(project, "names.js"))), [
    ["CallError", "Inbox", "InboxError", "accept", "connect", "randomId", "randomPassword"],
    ["Inbox", "InboxError", "randomId", "randomPassword"],
    ["Inbox", "InboxError", "randomId", "randomPassword"],
    "ERR_PACKAGE_PATH_NOT_EXPORTED",
  ]);
});

test("random ids and passwords are readable, and never the same", async () => {
  const { randomId, randomPassword } = await import("../../dist/inbox.js");
  const made = new Set(Array.from({ length: 1000 }, (_, i) => (i % 2 ? randomId() : randomPassword())));
  assert.equal(made.size, 1000);
  for (const one of made) assert.match(one, /^[0-9abcdefghjkmnpqrstvwxyz]{26}$/);
});

test("what users write compiles under the strictest settings", () => {
  const { compilerOptions } = JSON.parse(read("tsconfig.json"));
  copyFileSync(join(here, "test/package/types.ts"), join(project, "types.ts"));
  writeFileSync(join(project, "tsconfig.json"), JSON.stringify({
    compilerOptions: { ...compilerOptions, noEmit: true, rootDir: ".", skipLibCheck: false },
    files: ["types.ts"],
  }));
  try {
    run(require.resolve("typescript/bin/tsc"), "--project", project);
  } catch (error) {
    assert.fail(error.stdout);
  }
});

test("declarations show no machinery", () => {
  for (const name of readdirSync(join(here, "dist")).filter((name) => name.endsWith(".d.ts"))) {
    assert.doesNotMatch(read(`dist/${name}`), /\b(Receiver|Link|Server|Owner|WireMessage|Side|Calls)\b|@internal/, name);
  }
});

test("everything that users see is documented", () => {
  // One warning is enough to fail.
  run(join(dirname(require.resolve("typedoc/package.json")), "bin/typedoc"), "--emit", "none", "--logLevel", "Warn");
});
