/** Packs received files into an archive. */

import { makeZip, predictLength } from "./zip.js";

/** The range of dates that a ZIP archive can store. */
const OLDEST = Date.UTC(1980, 0, 2);
const NEWEST = Date.UTC(2107, 11, 30);

/**
 * @typedef {object} Entry
 * @property {string[]} path folders, and the name
 * @property {Blob | undefined} content undefined for an empty folder
 * @property {number} modified milliseconds since 1970
 */

/**
 * Packs files into one archive without copying them. client-zip reads each file once for
 * its checksum and writes the headers; the archive refers to the files themselves. It
 * takes no disk, and only about 150 bytes of memory per file, for the headers.
 * @param {Entry[]} entries
 * @returns {Promise<Blob>}
 * @throws {Error} when a file cannot be read
 */
export async function archiveOf(entries) {
  /** The file that each chunk of the archive was read from. @type {WeakMap<Uint8Array, Blob>} */
  const from = new WeakMap();
  const all = unique(entries).map(({ path, content, modified }) => ({
    name: path.join("/") + (content ? "" : "/"),
    lastModified: new Date(Math.min(NEWEST, Math.max(OLDEST, modified))),
    ...(content && { size: content.size, input: chunks(content, from) }),
  }));
  /** @type {BlobPart[]} */
  const parts = [];
  const archive = makeZip(all).getReader();
  for (let last; ;) {
    const { done, value } = await archive.read();
    if (done) break;
    const content = from.get(value);
    if (content === undefined) parts.push(/** @type {Uint8Array<ArrayBuffer>} */ (value));
    else if (content !== last) parts.push((last = content));
  }
  const blob = new Blob(parts, { type: "application/zip" });
  if (BigInt(blob.size) !== predictLength(all)) throw new Error(`the archive has ${blob.size} bytes, want ${predictLength(all)}`);
  return blob;
}

/**
 * Makes the paths of entries unique, even on systems that ignore case.
 * @param {Entry[]} entries
 */
function unique(entries) {
  const taken = new Set(entries.flatMap(({ path }) => path.slice(0, -1).map((_, i) => fold(path.slice(0, i + 1)))));
  return entries.map((entry) => {
    const { path, content } = entry;
    if (content === undefined) return entry;
    const [folders, name] = [path.slice(0, -1), path[path.length - 1]];
    let free = path;
    for (let n = 2; taken.has(fold(free)); n++) free = [...folders, numbered(name, n)];
    taken.add(fold(free));
    return { ...entry, path: free };
  });
}

/** @param {string[]} path */
const fold = (path) => path.join("/").toLowerCase();

/** Returns a numbered name, such as "a (2).txt". @param {string} name @param {number} n */
export function numbered(name, n) {
  const dot = name.lastIndexOf(".");
  return dot > 0 ? `${name.slice(0, dot)} (${n})${name.slice(dot)}` : `${name} (${n})`;
}

/**
 * @param {Blob} content
 * @param {WeakMap<Uint8Array, Blob>} from
 */
async function* chunks(content, from) {
  const reader = content.stream().getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    from.set(value, content);
    yield value;
  }
}
