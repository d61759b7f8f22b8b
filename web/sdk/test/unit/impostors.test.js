/** Answers that do not come from an inbox server. None of them opens an inbox or accepts a message. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Inbox, InboxError } from "../../build/messaging.js";
import { collect, advance, fakeNet, settle } from "../support/net.js";
import { watch } from "../support/rtc.js";

const open = (options = {}) => new Inbox("https://example.com/inbox", { id: "alice", password: "secret", ...options });

const HTML = { "Content-Type": "text/html; charset=utf-8" };
const JSON_ = { "Content-Type": "application/json" };
const CACHED = { "Cache-Control": "public, max-age=60" };

/** Answers, and the code that each gets. */
const IMPOSTORS = [
  ["a page", 200, { ...HTML, ...CACHED, "Inbox-Cursor": "" }, "<!doctype html><p>Hello", "not-inbox"],
  ["a page that is not to be stored", 200, HTML, "<!doctype html><p>Log in", "not-inbox"],
  ["JSON of another service", 200, { ...JSON_, ...CACHED, "Inbox-Cursor": "" }, '{"messages":[]}', "not-inbox"],
  ["JSON without a cursor", 200, JSON_, '{"ok":true}', "not-inbox"],
  ["an empty 200", 200, CACHED, "", "not-inbox"],
  ["204 of another server", 204, CACHED, null, "not-inbox"],
  ["204 without a cursor", 204, {}, null, "not-inbox"],
  ["a text", 200, { "Content-Type": "text/plain" }, "ok", "not-inbox"],
  ["a redirect", 307, { Location: "https://example.com/login" }, "", "not-inbox"],
  ["a page that is not there", 404, HTML, "<!doctype html>", "http-404"],
  ["a problem of another kind", 404, { "Content-Type": "application/problem+json" }, '{"code":5}', "http-404"],
  ["JSON with a code of another kind", 404, JSON_, '{"code":"E12"}', "http-404"],
  ["a proxy that wants a password", 401, { ...HTML, "WWW-Authenticate": 'Basic realm="proxy"' }, "", "proxy-auth"],
  ["a proxy that wants a password, with JSON", 401, JSON_, '{"code":"unauthorized"}', "proxy-auth"],
  ["a proxy that says 407", 407, {}, "", "proxy-auth"],
];

/** Answers without the headers that the fake server adds. */
async function answer(request, status, headers, body) {
  request.resolve(new Response(body === null || status === 204 ? null : new TextEncoder().encode(body), { status, headers }));
  await settle();
}

for (const [what, status, headers, body, code] of IMPOSTORS) {
  for (const transport of ["poll", "stream"]) {
    test(`${what} is not taken for an inbox, over ${transport}`, async (t) => {
      const net = fakeNet(t);
      const inbox = open({ transports: [transport] });
      const told = [];
      inbox.onopen = () => told.push("open");
      const got = collect(inbox.messages());
      await answer(await net.request(), status, headers, body);
      assert.ok(got.error instanceof InboxError, String(got.error));
      assert.equal(got.error.code, code);
      assert.equal(got.error.passes, false);
      assert.match(got.error.message, code === "proxy-auth" ? /^A proxy asked for a password\.$/ : new RegExp(`^https://example.com/inbox answered with ${status} .*not an inbox server`));
      await advance(60_000, 1000);
      assert.deepEqual(told, []);
      assert.equal(await net.open(), 0);
    });
  }

  if (!["an empty 200"].includes(what)) {
    test(`${what} is not taken for the answer to a send`, async (t) => {
      const net = fakeNet(t);
      const sent = watch(open().send("bob", "hello"));
      await answer(await net.request("POST"), status, headers, body);
      assert.equal(sent.error?.code, code);
      assert.equal(await net.open(), 0);
    });
  }
}

test("a 200 without an inbox server's headers is not taken for the answer to a send", async (t) => {
  const net = fakeNet(t);
  const sent = watch(open().send("bob", "hello"));
  await answer(await net.request("POST"), 200, {}, "");
  assert.equal(sent.error.code, "not-inbox");
});

test("a 204 of another server does not close an inbox", async (t) => {
  const net = fakeNet(t);
  const closed = watch(open().close());
  await answer(await net.request("DELETE"), 204, {}, null);
  assert.equal(closed.error.code, "not-inbox");
});

test("an error names a redirect", async (t) => {
  const net = fakeNet(t);
  const inbox = open({ transports: ["poll"] });
  const got = collect(inbox.messages());
  // Browsers show a redirect like this.
  const response = new Response(null, { status: 200 });
  Object.defineProperties(response, { type: { value: "opaqueredirect" }, status: { value: 0 }, ok: { value: false } });
  (await net.request()).resolve(response);
  await settle();
  assert.equal(got.error.code, "not-inbox");
  assert.match(got.error.message, /answered with a redirect/);
});

for (const address of ["https://example.com//inbox", "https://example.com/base//inbox", "//inbox"]) {
  test(`the URL ${address} is an error without a request`, async (t) => {
    const net = fakeNet(t);
    globalThis.document = { hidden: false, baseURI: "https://example.com/page" };
    const inbox = new Inbox(address, { id: "alice", password: "secret" });
    const got = collect(inbox.messages());
    await advance(1000);
    assert.equal(got.error.code, "not-inbox");
    assert.match(got.error.message, /\/\//);
    assert.equal(await net.open(), 0);
  });
}

for (const address of ["localhost:3000/inbox", "ftp://example.com/inbox", "file:///inbox"]) {
  test(`the constructor rejects the URL ${address}`, () => {
    assert.throws(() => new Inbox(address, { id: "alice", password: "secret" }), { code: "not-inbox" });
  });
}

for (const [what, talk] of [
  ["another protocol", (socket) => ((socket.protocol = ""), socket.onopen())],
  ["an echo", (socket) => (socket.onopen(), socket.onmessage({ data: JSON.stringify(socket.said.at(-1)) }))],
  ["a greeting", (socket) => (socket.onopen(), socket.onmessage({ data: "welcome" }))],
  ["a message before it is open", (socket) => (socket.onopen(), socket.onmessage({ data: '{"type":"message","cursor":"c1","from":"x","time":"","body":""}' }))],
  ["opened without a cursor", (socket) => (socket.onopen(), socket.onmessage({ data: '{"type":"opened"}' }))],
]) {
  test(`a socket with ${what} is not taken for an inbox`, async (t) => {
    const net = fakeNet(t);
    net.withSockets();
    const inbox = open({ transports: ["socket"] });
    const told = [];
    inbox.onopen = () => told.push("open");
    const got = collect(inbox.messages());
    const socket = await net.socket();
    talk(socket);
    await settle();
    assert.equal(got.error?.code, "not-inbox");
    assert.ok(socket.closed);
    assert.deepEqual(got.items, []);
    assert.deepEqual(told, []);
    if (what === "another protocol") assert.deepEqual(socket.said, []);
  });
}

test("a request finds out why a socket was refused, if there is no other transport", async (t) => {
  const net = fakeNet(t);
  net.withSockets();
  const got = collect(open({ transports: ["socket"] }).messages());
  await (await net.socket()).drop();
  const request = await net.request();
  assert.deepEqual(request.query, { after: "0", limit: "0" });
  await answer(request, 200, HTML, "<!doctype html>");
  assert.equal(got.error.code, "not-inbox");
});

test("receiving resumes after the login page of a network", async (t) => {
  const net = fakeNet(t);
  const inbox = open({ transports: ["poll"] });
  const away = [];
  inbox.onaway = ({ code }) => away.push(code);
  const got = collect(inbox.messages());
  await (await net.request()).nothing();
  await answer(await net.request(), 200, HTML, "<!doctype html>");
  assert.deepEqual(away, ["not-inbox"]);
  const sent = watch(inbox.send("bob", "hello"));
  await answer(await net.request("POST"), 200, HTML, "<!doctype html>");
  await advance(1000);
  await (await net.request("POST")).answer();
  assert.equal(sent.state, "done");
  await (await net.request()).messages("hello");
  assert.equal(got.texts.length, 1);
});

for (const [what, fetch, network] of [
  ["throws", () => { throw new TypeError("The 'credentials' field is not implemented."); }, false],
  ["throws another error", () => { throw new Error("The 'cache' field is not implemented."); }, false],
  ["rejects, as when the network is away,", async () => { throw new TypeError("fetch failed"); }, true],
]) {
  test(`a fetch that ${what} ${network ? "is retried" : "is not retried"}`, async (t) => {
    const net = fakeNet(t);
    let asked = 0;
    globalThis.fetch = (...given) => (asked++, fetch(...given));
    const got = collect(open().messages());
    const sent = watch(open().send("bob", "hello"));
    await advance(20_000, 500);
    if (network) {
      assert.ok(asked > 4);
      assert.equal(got.error, undefined);
      return;
    }
    assert.equal(got.error.code, "unsupported");
    assert.equal(sent.error.code, "unsupported");
    assert.match(got.error.message, /field is not implemented/);
    assert.match(got.error.cause.message, /field is not implemented/);
    void net;
  });
}

test("a fetch with options that Request rejects is not retried", async (t) => {
  fakeNet(t);
  const { Request } = globalThis;
  t.after(() => (globalThis.Request = Request));
  globalThis.Request = class {
    constructor() {
      throw new TypeError("The 'cache' field is not implemented.");
    }
  };
  globalThis.fetch = async () => new globalThis.Request();
  const got = collect(open().messages());
  await advance(1000);
  assert.equal(got.error.code, "unsupported");
});
