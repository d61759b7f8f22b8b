/** Reads files, and folders with their content, that a person chose or dropped. */

import { randomId } from "../inbox.js";
import { folderPath } from "./text.js";
import { MOST_FILES } from "./transfer.js";

/** @typedef {import("./outgoing.js").Choice} Choice */

/**
 * @typedef {object} Chosen
 * @property {Choice[]} choices
 * @property {string[]} problems reasons why folders are missing, as names in words.js
 *
 * @typedef {{file: File, path: string[], empty?: boolean}} Found
 */

/**
 * Reads the files of a file input.
 * @param {Iterable<File>} files
 * @returns {Chosen}
 */
export function fromInput(files) {
  /** Files by folder; undefined is the key of loose files. @type {Map<string | undefined, Found[]>} */
  const found = new Map();
  for (const file of files) {
    const path = file.webkitRelativePath.split("/").slice(0, -1);
    const same = found.get(path[0]) ?? [];
    same.push({ file, path });
    found.set(path[0], same);
  }
  return collect([...found.values()]);
}

/**
 * Reads dropped files and folders. The browser gives access only during the event, so this
 * takes all entries before it waits.
 * @param {DataTransferItemList} items
 * @returns {Promise<Chosen>}
 */
export async function fromDrop(items) {
  const dropped = [...items].filter(({ kind }) => kind === "file")
    .map((item) => ({ entry: item.webkitGetAsEntry?.(), file: item.getAsFile() }));
  return collect(await Promise.all(dropped.map(async ({ entry, file }) => {
    if (!entry?.isDirectory) return file ? [{ file, path: [] }] : [];
    /** @type {Found[]} */
    const found = [];
    return walk(/** @type {FileSystemDirectoryEntry} */ (entry), [entry.name], found).then(() => found, () => "folder-unreadable");
  })));
}

/**
 * Reads a folder; stops once it contains too many files.
 * @param {FileSystemDirectoryEntry} folder
 * @param {string[]} path
 * @param {Found[]} found receives the files
 * @throws {DOMException} when something in the folder cannot be read
 */
async function walk(folder, path, found) {
  const reader = folder.createReader();
  for (let empty = true; ; empty = false) {
    /** @type {FileSystemEntry[]} */
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) { // readEntries returns a hundred at a time
      if (empty) found.push({ file: new File([], "", { lastModified: 0 }), path, empty });
      return;
    }
    for (const entry of some) {
      if (found.length > MOST_FILES) return;
      if (entry.isDirectory) await walk(/** @type {FileSystemDirectoryEntry} */ (entry), [...path, entry.name], found);
      else found.push({ file: await new Promise((resolve, reject) => /** @type {FileSystemFileEntry} */ (entry).file(resolve, reject)), path });
    }
  }
}

/**
 * @param {(Found[] | string)[]} all loose files, folders, and names of problems with folders
 * @returns {Chosen}
 */
function collect(all) {
  /** @type {Chosen} */
  const chosen = { choices: [], problems: [] };
  for (const found of all) {
    if (typeof found === "string") chosen.problems.push(found);
    else if (found[0]?.path.length === 0) chosen.choices.push(...found.map(({ file }) => ({ file })));
    else if (found.length > MOST_FILES) chosen.problems.push("too-many");
    else if (found.some(({ path }) => folderPath(path) === undefined)) chosen.problems.push("too-deep");
    else {
      const id = randomId();
      chosen.choices.push(...found.map(({ file, path, empty }) => ({ file, folder: { id, path: folderPath(path) ?? [], files: found.length, ...(empty && { empty }) } })));
    }
  }
  return chosen;
}
