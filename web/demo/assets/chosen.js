/** What was chosen or dropped: files, and folders with everything in them. */

import { randomId } from "../inbox.js";
import { folderPath } from "./text.js";
import { MOST_FILES } from "./transfer.js";

/** @typedef {import("./outgoing.js").Choice} Choice */

/**
 * @typedef {object} Chosen
 * @property {Choice[]} choices
 * @property {string[]} problems why folders are not among them, as names in words.js
 *
 * @typedef {{file: File, path: string[], empty?: boolean}} Found
 */

/**
 * Reads what a file input was given.
 * @param {Iterable<File>} files
 * @returns {Chosen}
 */
export function fromInput(files) {
  /** By the name of the folder; those without one are loose. @type {Map<string | undefined, Found[]>} */
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
 * Reads what was dropped. The browser answers only as long as the event lasts, so this
 * asks for everything before it waits.
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
 * Reads a folder, until it is clear that it holds too much.
 * @param {FileSystemDirectoryEntry} folder
 * @param {string[]} path
 * @param {Found[]} found what is in it, added to what was found before
 * @throws {DOMException} when something in it cannot be read
 */
async function walk(folder, path, found) {
  const reader = folder.createReader();
  for (let empty = true; ; empty = false) {
    /** @type {FileSystemEntry[]} */
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) { // it gives a hundred at a time
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
 * @param {(Found[] | string)[]} all loose files, and folders, or what is wrong with one
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
