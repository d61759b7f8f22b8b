/** The limits that protect a page from a hostile person in the same room. */

import assert from "node:assert/strict";
import { register } from "node:module";
import { test } from "node:test";
import { appendLinked } from "../demo/assets/links.js";
import { allowance } from "../demo/assets/messages.js";

// The server serves the SDK next to the pages.
const sdk = new URL("../dist/inbox.js", import.meta.url).href;
register(`data:text/javascript,${encodeURIComponent(`export const resolve = (name, context, next) => next(name === "../inbox.js" ? "${sdk}" : name, context);`)}`);
const { Incoming } = await import("../demo/assets/incoming.js");

/** Returns the addresses of the links in a text. */
function linksIn(text) {
  const parts = [];
  globalThis.document = { createElement: () => ({}) };
  try {
    appendLinked({ append: (...more) => parts.push(...more) }, text);
  } finally {
    delete globalThis.document;
  }
  return parts.filter((part) => typeof part === "object").map(({ textContent }) => textContent);
}

test("a long message is searched for addresses in linear time", { timeout: 20_000 }, () => {
  assert.deepEqual(linksIn("(see http://a.example/b_(c)), [http://d.example/]. http://e.example/!?)"), ["http://a.example/b_(c)", "http://d.example/", "http://e.example/"]);
  for (const end of [")", "!", ")]}", "(.)"]) {
    assert.equal(linksIn(`http://a.example/${end.repeat(1_000_000)}`).length, 1, end);
  }
});

test("messages beyond the rate of a person do not count", (t) => {
  let now = 0;
  t.mock.method(performance, "now", () => now);
  const may = allowance(3, 2);
  const counted = (tries) => Array.from({ length: tries }, may).filter((counts) => counts).length;
  assert.equal(counted(10), 3);
  now += 1000;
  assert.equal(counted(10), 2);
  now += 3600_000;
  assert.equal(counted(10), 3);
});

test("one person cannot take all places in the list of files", () => {
  const others = { count: () => lists.reduce((sum, { list }) => sum + list.length, 0), has: () => false };
  const lists = [];
  const person = (peer) => {
    const sent = [];
    const incoming = new Incoming({
      peer, send: (data) => sent.push(data), onchange() {},
      others: { ...others, count: () => others.count() - incoming.list.length },
    });
    lists.push(incoming);
    return { sent, offer: (i) => incoming.handle({ type: "offer", id: `${peer}${String(i).padStart(25, "0")}`, name: "x", size: 1, partSize: 65536, modified: 0, readable: true }), incoming };
  };
  const [greedy, honest] = [person("a"), person("b")];
  for (let i = 0; i < 6000; i++) greedy.offer(i);
  assert.equal(greedy.incoming.list.length, 5000);
  for (let i = 0; i < 600; i++) honest.offer(i);
  assert.equal(honest.incoming.list.length, 500);
  assert.deepEqual(honest.sent.at(-1), { type: "cancel", id: `b${"599".padStart(25, "0")}`, why: "full" });
});
