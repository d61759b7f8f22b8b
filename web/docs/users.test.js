/** Runs every block of docs/users.md: a server that hands out ids, and pages that log in there. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { launch, person } from "../e2e/browser.js";
import { cleanUp } from "../e2e/hooks.js";
import { startServer } from "../e2e/server.js";
import { aimed, blocks, scratch } from "./blocks.js";
import { pageWith, servePages } from "./pages.js";

const all = blocks("docs/users.md");
const [session, page, calls] = all.map(({ code }) => code);
let server, browser, pages, login, origin;
const files = {};

before(async () => {
  [server, browser, pages] = await Promise.all([startServer(), launch({ camera: false, names: false }), servePages(files)]);
  const free = createServer().listen(0, "127.0.0.1");
  await once(free, "listening");
  const { port } = free.address();
  free.close();
  const file = join(scratch, "session.mjs");
  writeFileSync(file, `
    const loggedIn = (request) => request.headers["x-user"];
    const mayCall = (user, peer) => peer !== "mallory";
    ${session}
    console.log("ready");
  `);
  login = spawn(process.execPath, [file], { env: { ...process.env, PORT: String(port), ID_KEY: "secret" }, stdio: ["ignore", "pipe", "inherit"] });
  await once(login.stdout, "data");
  origin = `http://127.0.0.1:${port}`;
}, { timeout: 120_000 });
cleanUp(() => browser, { provoked: true });
after(() => {
  login?.kill();
  pages?.close();
});

test("these tests know all of its blocks", () => {
  assert.deepEqual(all.map(({ language, name }) => `${language} ${name}`.trim()), ["js session.js", "js page.js", "js"]);
});

const ask = (path, user) => fetch(new URL(path, origin), { headers: user ? { "X-User": user } : {} });

test("the server returns a user's password only to that user, and ids only to users who may call", async () => {
  const alice = await (await ask("/session", "alice")).json();
  assert.deepEqual(await (await ask("/session", "alice")).json(), alice, "the same each time");
  assert.match(`${alice.id} ${alice.password}`, /^[\w-]{43} [\w-]{43}$/);
  assert.deepEqual(await (await ask("/session?peer=alice", "bob")).json(), { id: alice.id });
  assert.equal((await ask("/session?peer=mallory", "bob")).status, 403);
  assert.equal((await ask("/session", "")).status, 401);
});

test("users call each other by name, and see who calls", async () => {
  files["app.html"] = pageWith(aimed(`
    import { Inbox, accept, connect } from "http://localhost:3000/inbox.js";
    const whoIs = async (id) => ((await (await fetch("/session?peer=bob")).json()).id === id ? "Bob" : undefined);
    const ring = (caller, call) => ((globalThis.caller = caller), call.accept());
    ${page}
    globalThis.call = call;
    globalThis.ready = true;
    ${calls}
  `, server));
  const as = async (user) => {
    const page = await person(browser);
    await page.route("**/session*", async (route) => {
      const answer = await ask(new URL(route.request().url()).pathname + new URL(route.request().url()).search, user);
      await route.fulfill({ status: answer.status, body: await answer.text(), contentType: "application/json" });
    });
    await page.goto(`${pages.url}app.html`);
    await page.waitForFunction(() => globalThis.ready);
    return page;
  };
  const [alice, bob, carol] = await Promise.all(["alice", "bob", "carol"].map(as));
  assert.equal(await bob.evaluate(() => call("alice").then(({ connectionState }) => connectionState)), "connected");
  await alice.waitForFunction(() => globalThis.caller === "Bob");
  assert.equal(await carol.evaluate(() => call("alice").catch(({ code }) => code)), "rejected");
});
