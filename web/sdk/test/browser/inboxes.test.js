/** Inboxes that are closed and reopened, and URLs without an inbox server. */

import assert from "node:assert/strict";
import { after, afterEach, before } from "node:test";
import { openPage, startBrowser, stopBrowser } from "../support/browser.js";
import { IMPOSTORS, closeAndOpen, leave, isNoInbox, startImpostor, traced } from "../support/scenarios.js";
import { startServer, stopServers } from "../support/server.js";
import { test } from "../support/test.js";

let server, impostor, page, other;

before(async () => {
  [server, impostor] = await Promise.all([startServer(), startImpostor(), startBrowser()]);
  [page, other] = await Promise.all([openPage(), openPage()]);
});
after(async () => {
  await stopBrowser();
  await stopServers();
  impostor.stop();
});
afterEach(() => Promise.all([page, other].map((one) => one.evaluate(() => globalThis.cleanUp?.()))));

for (const transport of ["socket", "stream", "poll"]) {
  test(`over a ${transport}: an inbox that is closed and immediately reopened works`, () => closeAndOpen(page, server.url, "twice", transport));
}

test("a page whose fetch adds headers for tracing uses every transport", () => traced(page, server.url, "traced"));

for (const [what, [, , , code]] of Object.entries(IMPOSTORS)) {
  test(`${what} is not taken for an inbox: ${code}`, () => isNoInbox(other, impostor.urlOf(what), code));
}

test("a URL with // is an error", async () => {
  await isNoInbox(other, server.url.replace(/inbox$/, "/inbox"), "not-inbox");
});

test("an inbox that is closed while its page is left is gone, and last messages arrive", async () => {
  const leaving = await openPage();
  await leave(leaving, other, server.url, "leaving");
  await leaving.close();
});

test("an option that fetch rejects ends the retries", async () => {
  const error = await other.evaluate(async (url) => {
    const { fetch } = globalThis;
    globalThis.fetch = (to, init) => fetch(to, { ...init, cache: "only-if-cached-and-nonsense" });
    globalThis.Request = new Proxy(Request, { construct: (Request, [to, init]) => new Request(to, { ...init, cache: "nonsense" }) });
    const inbox = openInbox(url, "optional", { transports: ["poll"] });
    const error = await failure(inbox.messages().next());
    globalThis.fetch = fetch;
    return error;
  }, server.url);
  assert.equal(error.code, "unsupported");
});
