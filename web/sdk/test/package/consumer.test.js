/** Users can install the package, compile against it under every module resolution, and run it. */

import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { after, before } from "node:test";
import { promisify } from "node:util";
import { TraceMap, eachMapping } from "@jridgewell/trace-mapping";
import { publint } from "publint";
import ts from "typescript";
import { install, root } from "../support/packed.js";
import { startServer, stopServers } from "../support/server.js";
import { test } from "../support/test.js";

const require = createRequire(import.meta.url);
const run = promisify(execFile);
const { project, folder, tarball } = install();
let server;

before(async () => (server = await startServer()));
after(stopServers);

/** The compiler's own declarations, such as lib.dom.d.ts. They are read once. */
const libraries = new Map();

/** Compiles files of the project under the strictest settings, and returns what the compiler reports. */
function compile(outDir, options, ...files) {
  const { compilerOptions } = JSON.parse(readFileSync(join(root, "tsconfig.json"), "utf8"));
  const { options: settings, errors } = ts.convertCompilerOptionsFromJson(
    { ...compilerOptions, strict: true, skipLibCheck: false, rootDir: ".", outDir, ...options },
    project,
  );
  assert.deepEqual(errors, []);
  const host = ts.createCompilerHost(settings);
  const { getSourceFile } = host;
  host.getCurrentDirectory = () => project;
  host.getSourceFile = (name, ...more) => {
    if (!name.includes("/typescript/lib/")) return getSourceFile.call(host, name, ...more);
    if (!libraries.has(name)) libraries.set(name, getSourceFile.call(host, name, ...more));
    return libraries.get(name);
  };
  const program = ts.createProgram(files.map((name) => join(project, name)), settings, host);
  const diagnostics = [...ts.getPreEmitDiagnostics(program), ...program.emit().diagnostics];
  return ts.formatDiagnostics(diagnostics, host);
}

const start = async (...program) => (await run(process.execPath, [...program, server.url], { cwd: project })).stdout.trim().split("\n");

const RESOLUTIONS = {
  // TypeScript 7 has no node10 any more, and TypeScript 6 says so.
  node10: { module: "ES2022", moduleResolution: "node10", ignoreDeprecations: "6.0" },
  node16: { module: "Node16", moduleResolution: "node16" },
  nodenext: { module: "NodeNext", moduleResolution: "nodenext" },
  bundler: { module: "ESNext", moduleResolution: "bundler" },
};

for (const [name, options] of Object.entries(RESOLUTIONS)) {
  test(`a program compiles under ${name} and runs`, async () => {
    for (const file of ["consumer.ts", "types.ts"]) copyFileSync(join(root, "test/package", file), join(project, file));
    assert.equal(compile(name, options, "consumer.ts", "types.ts"), "");
    assert.deepEqual(await start(join(name, "consumer.js")), ['true {"hello":"Bob"}', "true hello", "true true", "no-webrtc"]);
  });
}

test("a CommonJS program gets a clear error under node16, and import() works", async () => {
  writeFileSync(join(project, "requires.cts"), 'import { randomId } from "@inbox/sdk";\nconsole.log(randomId());\n');
  const errors = compile("cjs", { ...RESOLUTIONS.node16, verbatimModuleSyntax: false }, "requires.cts");
  assert.match(errors, /^requires\.cts\(1,26\): error TS1479: .*ECMAScript module.*import\("@inbox\/sdk"\)/);
  writeFileSync(join(project, "imports.cts"), 'void import("@inbox/sdk").then(({ randomId }) => console.log(randomId().length));\n');
  assert.equal(compile("cjs", RESOLUTIONS.node16, "imports.cts"), "");
  assert.deepEqual(await start("cjs/imports.cjs"), ["26"]);
});

test("a CommonJS program can require it under nodenext, and in a Node that requires modules", async (t) => {
  assert.equal(compile("cjs", { ...RESOLUTIONS.nodenext, verbatimModuleSyntax: false }, "requires.cts"), "");
  if (!process.features.require_module) return t.skip(`Node ${process.version} requires no modules`);
  assert.match((await start("cjs/requires.cjs"))[0], /^[0-9a-z]{26}$/);
});

test("publint finds nothing to improve", async () => {
  assert.deepEqual((await publint({ pkgDir: folder, pack: false, strict: true })).messages, []);
});

test("the types of every entry point are right under every module resolution", () => {
  const cli = join(dirname(require.resolve("@arethetypeswrong/cli/package.json")), "dist/index.js");
  // esm-only: the one finding is that CommonJS has to import(), which the tests above describe.
  execFileSync(process.execPath, [cli, tarball, "--profile", "esm-only", "--no-definitely-typed", "--format", "json"], { encoding: "utf8" });
});

test("source maps lead to sources that are in the package", () => {
  const dist = join(folder, "dist");
  const maps = readdirSync(dist).filter((name) => name.endsWith(".map"));
  for (const name of readdirSync(dist)) {
    if (name.endsWith(".map") || name === "mailbox.js") continue;
    assert.ok(maps.includes(`${name}.map`), `${name} has no map`);
    assert.ok(readFileSync(join(dist, name), "utf8").trimEnd().endsWith(`//# sourceMappingURL=${name}.map`), name);
  }
  for (const name of maps) {
    const map = JSON.parse(readFileSync(join(dist, name), "utf8"));
    const sources = map.sources.map((source) => readFileSync(join(dist, source), "utf8").split("\n"));
    if (name.endsWith(".js.map")) assert.deepEqual(map.sourcesContent.map((content) => content.split("\n")), sources, name);
    const lines = readFileSync(join(dist, name.slice(0, -4)), "utf8").split("\n");
    let [mapped, named, right] = [0, 0, 0];
    eachMapping(new TraceMap(map), ({ generatedLine, generatedColumn, source, originalLine, originalColumn, name: identifier }) => {
      if (source === null) return;
      const line = sources[map.sources.indexOf(source)][originalLine - 1];
      assert.ok(generatedColumn <= lines[generatedLine - 1].length && originalColumn <= line.length, name);
      mapped++;
      if (!identifier) return;
      named++;
      if (line.startsWith(identifier, originalColumn)) right++;
    });
    assert.ok(mapped > 0, name);
    // The rest is what the compiler adds, such as `this` before an initialized field.
    if (name.endsWith(".js.map")) assert.ok(named > 40 && right > 0.95 * named - 5, `${name}: ${right} of ${named} names are where the map says`);
  }
});

test("an error in the SDK points to a line of its sources", async () => {
  writeFileSync(join(project, "fails.js"), 'import { Inbox } from "@inbox/sdk";\nnew Inbox("ftp://host/inbox", { id: "a", password: "b" });\n');
  const { stderr } = await run(process.execPath, ["--enable-source-maps", "fails.js"], { cwd: project }).catch((error) => error);
  const [, file, line] = /at new \w+ \((.*messaging\.ts):(\d+):\d+\)/.exec(stderr) ?? assert.fail(stderr);
  assert.ok(existsSync(file.replace("file://", "")), file);
  assert.match(readFileSync(file.replace("file://", ""), "utf8").split("\n")[line - 1], /throw new InboxError/);
});
