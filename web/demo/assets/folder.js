/** Groups the files of a folder into one row. */

import { Rate } from "./transfer.js";

/**
 * @typedef {import("./incoming.js").Received | import("./outgoing.js").Sent} One
 *
 * The content of a row: a file, or a folder with all of its files.
 * @typedef {One | FolderView} Item
 */

/** A folder has the first of these states that one of its files is in. */
const ORDER = /** @type {const} */ (["damaged", "unreadable", "checking", "going", "offered", "done", "cancelled"]);

export class FolderView {
  /** @type {any[]} */
  members = [];
  rate = new Rate();
  /** @param {import("./transfer.js").Folder} folder */
  constructor({ id, path, files }) {
    this.id = id;
    this.name = path[0];
    /** Number of files in the folder, listed or not. */
    this.files = files;
  }

  /** Computes the properties of the folder from its files. */
  update() {
    this.size = this.members.reduce((sum, { size }) => sum + size, 0);
    this.moved = this.members.reduce((sum, { moved, size, state }) => sum + (state === "done" ? size : moved), 0);
    const states = new Set(this.members.map(({ state }) => state));
    const moves = states.has("going") || states.has("checking");
    this.state = moves ? "going" : ORDER.find((state) => states.has(state)) ?? "cancelled";
    this.why = this.members.find(({ why }) => why !== undefined)?.why;
    const open = this.members.filter(({ state }) => state !== "done" && state !== "cancelled");
    this.readable = open.length === 0 || open.some(({ readable }) => readable !== false);
    this.wanted = this.members.some(({ wanted }) => wanted);
    this.listed = this.members.length >= this.files;
    const rest = this.members.filter(({ state }) => state === "done");
    this.done = rest.length;
    this.saving = ["failed", "packing", "waiting", "rest", "packed", "given", "written"].find((saving) => rest.some((one) => one.saving === saving));
    this.place = rest.find(({ place }) => place !== undefined)?.place;
    if (moves) this.rate.note(this.moved);
  }
}

/** @typedef {Map<string, FolderView>} Views the folders of one person in one direction, by id */

/**
 * @param {Views} views of the same list
 * @param {any[]} list of transfers
 * @returns {any[]} files and folders, in order of arrival
 */
export function itemsOf(views, list) {
  /** @type {Set<Item>} */
  const items = new Set();
  for (const one of list) {
    if (!one.folder) {
      items.add(one);
      continue;
    }
    const view = views.get(one.folder.id) ?? new FolderView(one.folder);
    views.set(one.folder.id, view);
    if (!items.has(view)) view.members = [];
    items.add(view);
    view.members.push(one);
  }
  for (const item of items) if (item instanceof FolderView) item.update();
  for (const [id, view] of views) if (!items.has(view)) views.delete(id);
  return [...items];
}
