/** The README is true: its scripts compile against the package, and its figures are those of the build. The browser tests run its page. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import ts from "typescript";
import { gzipSync } from "node:zlib";
import { root } from "../support/packed.js";

const readme = readFileSync(join(root, "README.md"), "utf8");

/** Declares the names that the scripts use without defining them. */
const SURROUNDINGS = `
import { CallError, Inbox, InboxError, accept, connect, randomId, randomPassword } from "../dist/inbox.js";
import { join } from "../dist/rooms.js";
import { createCode, redeemCode } from "../dist/codes.js";
import { topics } from "../dist/trystero.js";
declare const id: string, password: string, secret: string, signal: AbortSignal, inbox: Inbox, stream: MediaStream;
declare function createTopicStrategy(strategy: ReturnType<typeof topics>): (config: object, room: string) => object;
declare function show(...values: unknown[]): void;
declare function hide(value: unknown): void;
declare function useEffect(effect: () => () => void, dependencies: unknown[]): void;
export async function script() {
`;

test("the scripts of the README compile", () => {
  const scripts = [...readme.matchAll(/```js\n([^]*?)```/g)].map(([, script]) => script);
  assert.ok(scripts.length >= 4);
  const files = new Map(scripts.map((script, i) => [
    join(root, "test", `readme-${i}.ts`),
    // A script that creates the inbox shadows the declared one. Its imports are declared above.
    `${SURROUNDINGS}${script.replace(/^import .*\n/gm, "")}\n}\n`,
  ]));
  const options = { strict: true, noEmit: true, types: [], target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.NodeNext, lib: ["lib.es2022.d.ts", "lib.dom.d.ts"] };
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists } = host;
  host.getSourceFile = (name, ...more) => files.has(name) ? ts.createSourceFile(name, files.get(name), ...more) : getSourceFile.call(host, name, ...more);
  host.fileExists = (name) => files.has(name) || fileExists.call(host, name);
  const program = ts.createProgram([...files.keys()], options, host);
  assert.equal(ts.formatDiagnostics(ts.getPreEmitDiagnostics(program), host), "");
});

test("the README's table of options and errors names what exists", () => {
  const declarations = ["connect", "call-error", "errors", "messaging", "receive", "send"].map((name) => readFileSync(join(root, `dist/${name}.d.ts`), "utf8")).join("\n");
  const [, errors] = /\| `InboxError\.code`([^]*?)\n\n/.exec(readme);
  const [, calls] = /\| `CallError\.code`([^]*?)\n\n/.exec(readme);
  for (const [, code] of `${errors}${calls}`.matchAll(/^\| `([a-z-]+)`/gm)) assert.ok(declarations.includes(`"${code}"`), code);
  // All codes of calls are in the table.
  const [, union] = /type CallErrorCode = ([^;]*);/.exec(declarations);
  for (const [, code] of union.matchAll(/"([a-z-]+)"/g)) assert.ok(calls.includes(`\n| \`${code}\``), code);
});

test("the README gives the sizes of the build", () => {
  for (const name of ["inbox", "messaging", "rooms", "codes", "trystero"]) {
    const size = gzipSync(readFileSync(join(root, `../dist/${name}.js`)), { level: 9 }).length / 1024;
    const [, stated] = new RegExp(`/${name}\\.js\` \\|.*\\| ([\\d.]+) KiB`).exec(readme);
    assert.ok(Math.abs(stated - size) < 0.1, `${name}.js: ${size} KiB`);
  }
});
