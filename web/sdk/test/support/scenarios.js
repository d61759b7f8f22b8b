/** Scenarios with inboxes, for the tests of each browser. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";

/** A page that mounts a component twice: an inbox is closed after some milliseconds, and immediately opened by another object. */
export async function closeAndOpen(page, url, name, transport) {
  const results = await page.evaluate(async ([url, name, transport]) => {
    const sender = openInbox(url, `${name} sender`);
    const results = [];
    const once = async (ms) => {
      const id = `${name} ${transport} ${ms}`;
      const read = (inbox, got) => void (async () => {
        for await (const { text } of inbox.messages()) got.texts.push(text);
      })().catch(({ code }) => (got.code = code));
      const [before, after] = [{ texts: [] }, { texts: [] }];
      // Every other one uses a new password, as with randomPassword.
      const first = openInbox(url, id, { transports: [transport], ...(ms % 2 && { password: `one ${ms}` }) });
      read(first, before);
      if (ms > 1) await new Promise((resolve) => setTimeout(resolve, ms * 3));
      const closed = first.close().then(() => "closed", ({ code }) => code);
      const second = openInbox(url, id, { transports: [transport], ...(ms % 2 && { password: `two ${ms}` }) });
      read(second, after);
      await until(() => second.transport || after.code);
      await new Promise((resolve) => setTimeout(resolve, 1200));
      const sent = await sender.send(id, "hello").then(() => "sent", ({ code }) => code);
      if (!after.code) await until(() => after.texts.length || after.code);
      const result = [before.code, await closed, sent, ...after.texts, after.code];
      await second.close();
      return result;
    };
    // A page has six connections for requests to one server.
    const together = transport === "socket" ? 8 : 2;
    for (let ms = 0; ms < 16; ms += together) {
      results.push(...(await Promise.all(Array.from({ length: together }, (_, i) => once(ms + i)))));
    }
    return results;
  }, [url, name, transport]);
  assert.deepEqual(results, Array(16).fill(["closed", "closed", "sent", "hello", undefined]));
}

/** An inbox that is closed while its page is left is gone immediately, and last messages arrive, in bytes too. */
export async function leave(page, observer, url, name) {
  await page.evaluate(async ([url, name]) => {
    const [closes, speaks] = ["closes", "speaks"].map((what) => openInbox(url, `${name} ${what}`));
    for (const inbox of [closes, speaks]) void inbox.messages().next().catch(() => {});
    await until(() => closes.transport && speaks.transport);
    addEventListener("pagehide", () => {
      void closes.close();
      void speaks.send(`${name} observer`, new Uint8Array([98, 121, 101]), { last: true });
    });
  }, [url, name]);
  await observer.evaluate(async ([url, name]) => {
    globalThis.heard = [];
    globalThis.inbox = openInbox(url, `${name} observer`);
    void (async () => {
      for await (const { text } of inbox.messages()) heard.push(text);
    })().catch(() => {});
    await until(() => inbox.transport);
  }, [url, name]);
  await page.goto("about:blank");
  const found = await observer.evaluate(async (name) => {
    await until(() => heard.length);
    const code = await until(async () => (await failure(inbox.send(`${name} closes`, "are you there?")))?.code);
    return [heard, code];
  }, name);
  assert.deepEqual(found, [["bye"], "no-such-inbox"]);
}

/** A page whose fetch adds the headers of a tracing tool. */
export async function traced(page, url, name) {
  for (const transport of ["socket", "stream", "poll"]) {
    const got = await page.evaluate(async ([url, name, transport]) => {
      const { fetch } = globalThis;
      globalThis.fetch = (to, init) => fetch(to, { ...init, headers: { ...init.headers, traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" } });
      const inbox = openInbox(url, `${name} ${transport}`, { transports: [transport] });
      const got = [];
      const loop = (async () => {
        for await (const { text, bytes } of inbox.messages()) got.push(text?.length ?? bytes.length);
      })();
      loop.catch(() => {});
      await until(() => inbox.transport);
      await inbox.send(inbox.id, "x".repeat(60_000));
      await inbox.send(inbox.id, new Uint8Array(60_000).fill(255));
      await inbox.send(inbox.id, "bye", { last: true });
      await until(() => got.length === 3);
      await inbox.close();
      globalThis.fetch = fetch;
      return [got, (await failure(loop)).code];
    }, [url, name, transport]);
    assert.deepEqual(got, [[60_000, 60_000, 3], "closed"]);
  }
}

const HTML = { "Content-Type": "text/html; charset=utf-8" };

/** Answers at a wrong URL, and the code that each gets. */
export const IMPOSTORS = {
  "a page": [200, HTML, "<!doctype html><p>Welcome", "not-inbox"],
  "a login page with no-store": [200, { ...HTML, "Cache-Control": "no-store" }, "<!doctype html><p>Log in", "not-inbox"],
  "JSON of another service": [200, { "Content-Type": "application/json", "Cache-Control": "no-store" }, '{"messages":[{"cursor":"c"}]}', "not-inbox"],
  "a stream of another service": [200, { "Content-Type": "text/event-stream" }, "data: tick\n\n", "not-inbox"],
  "204": [204, {}, "", "not-inbox"],
  "an empty 200": [200, {}, "", "not-inbox"],
  "a redirect": [302, { Location: "/login" }, "", "not-inbox"],
  "a page that is not there": [404, HTML, "<!doctype html>", "http-404"],
  "a proxy that wants a password": [401, { ...HTML, "WWW-Authenticate": 'Basic realm="proxy"' }, "", "proxy-auth"],
};

/** Answers every request in one of these ways, to pages of every origin: /<which>/inbox. */
export async function startImpostor() {
  const server = createServer((request, response) => {
    response.setHeader("Access-Control-Allow-Origin", "*");
    response.setHeader("Access-Control-Allow-Headers", "Authorization, Content-Type, Idempotency-Key");
    response.setHeader("Access-Control-Allow-Methods", "GET, POST, DELETE");
    if (request.method === "OPTIONS") return void response.writeHead(204).end();
    const [status, headers, body] = Object.values(IMPOSTORS)[request.url.split("/")[1]];
    response.writeHead(status, headers).end(body);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const urlOf = (which) => `http://127.0.0.1:${server.address().port}/${Object.keys(IMPOSTORS).indexOf(which)}/inbox`;
  return { urlOf, stop: () => (server.closeAllConnections(), server.close()) };
}

export async function isNoInbox(page, url, code) {
  const results = await page.evaluate(async (url) => Promise.all([undefined, ["socket"], ["stream"], ["poll"]].map(async (transports) => {
    const inbox = openInbox(url, "alice", { transports });
    const loop = await failure(inbox.messages().next());
    const send = await failure(inbox.send("bob", "hello"));
    return [loop.code, send.code, loop.message, inbox.told];
  })), url);
  for (const [loop, send, message, told] of results) {
    assert.deepEqual([loop, send, told], [code, code, []]);
    assert.match(message, /^[A-Zh].*[.]$/);
  }
}
