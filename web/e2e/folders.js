/** Folders and archives, and helpers for sending them on the files page. */

import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { crc32 } from "node:zlib";
import { makeDirectory } from "./files.js";

/**
 * Reads an uncompressed archive: contents by path, null for a folder.
 * @param {string} path
 */
function unpack(path) {
  const zip = readFileSync(path);
  const end = zip.lastIndexOf("PK\x05\x06", undefined, "latin1");
  assert.ok(end >= 0, "the archive has no end");
  const found = {};
  let at = zip.readUInt32LE(end + 16);
  for (let left = zip.readUInt16LE(end + 10); left > 0; left--) {
    const [size, nameLength, extraLength, commentLength] = [zip.readUInt32LE(at + 24), ...[28, 30, 32].map((i) => zip.readUInt16LE(at + i))];
    const name = zip.toString("utf8", at + 46, at + 46 + nameLength);
    const local = zip.readUInt32LE(at + 42);
    const begins = local + 30 + zip.readUInt16LE(local + 26) + zip.readUInt16LE(local + 28);
    const content = zip.subarray(begins, begins + size);
    assert.equal(crc32(content), zip.readUInt32LE(at + 16), `${name} has another checksum`);
    assert.ok(!(name in found), `${name} is there twice`);
    found[name] = name.endsWith("/") ? null : content.toString("hex");
    at += 46 + nameLength + extraLength + commentLength;
  }
  return found;
}

/** Waits until an archive has this content. @param {string} path @param {Record<string, string | null>} files */
export async function archives(path, files) {
  for (const deadline = performance.now() + 60_000; ; await new Promise((resolve) => setTimeout(resolve, 100))) {
    try {
      return assert.deepEqual(unpack(path), files);
    } catch (error) {
      if (performance.now() > deadline) throw error;
    }
  }
}

/** Creates a folder on the disk. @param {string} name @param {Record<string, string | null>} files contents by path, null for a folder */
export function makeFolder(name, files) {
  const at = join(makeDirectory(), name);
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(join(at, content === null ? path : dirname(path)), { recursive: true });
    if (content !== null) writeFileSync(join(at, path), content);
  }
  return { name, path: at, files };
}

/** Returns the content of the archive of a folder. @param {string} name @param {Record<string, string | null>} files */
export const packed = (name, files) => Object.fromEntries(Object.entries(files).map(([path, content]) =>
  [`${name}/${path}${content === null ? "/" : ""}`, content === null ? null : Buffer.from(content).toString("hex")]));

/** Drops files and folders onto a page. @param {import("playwright-core").Page} page @param {...{path: string}} files */
export async function drops(page, ...files) {
  const session = await page.context().newCDPSession(page);
  const data = { items: [], files: files.map(({ path }) => path), dragOperationsMask: 1 };
  for (const type of ["dragEnter", "dragOver", "drop"]) await session.send("Input.dispatchDragEvent", { type, x: 200, y: 200, data });
}
