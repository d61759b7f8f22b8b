/** Popular client libraries for Server-Sent Events read the server's streams. */

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { build } from "esbuild";
import { closeBrowsers, launch } from "./browser.js";
import { startServer, stopServers } from "./server.js";

after(async () => {
  await closeBrowsers();
  await stopServers();
});

/** Each function opens a stream and calls heard for every event that its library passes on. */
const libraries = `
  import { fetchEventSource } from "@microsoft/fetch-event-source";
  import { EventSource } from "eventsource";
  import { createParser } from "eventsource-parser";
  import { EventSourcePolyfill } from "event-source-polyfill";
  import ReconnectingEventSource from "reconnecting-eventsource";
  import { SSE } from "sse.js";

  const kinds = ["message", "reset", "closed", "draining", "replaced"];
  const listen = (source, heard) => {
    for (const kind of kinds) source.addEventListener(kind, ({ data, lastEventId, id }) => heard({ kind, data, id: lastEventId ?? id }));
  };
  const withHeaders = (headers) => ({ fetch: (url, init) => fetch(url, { ...init, headers: { ...init.headers, ...headers } }) });

  globalThis.libraries = {
    "@microsoft/fetch-event-source": (url, headers, heard) => void fetchEventSource(url, {
      headers, openWhenHidden: true,
      onmessage: ({ event, data, id }) => heard({ kind: event || "message", data, id }),
      onclose() { throw new Error("closed"); }, onerror(error) { throw error; },
    }).catch(() => {}),
    "eventsource": (url, headers, heard) => listen(new EventSource(url, withHeaders(headers)), heard),
    "eventsource-parser": async (url, headers, heard) => {
      const parser = createParser({ onEvent: ({ event, data, id }) => heard({ kind: event || "message", data, id }), onError: (error) => heard({ kind: "error", data: String(error) }) });
      const { body } = await fetch(url, { headers: { ...headers, Accept: "text/event-stream" } });
      for await (const chunk of body.pipeThrough(new TextDecoderStream())) parser.feed(chunk);
    },
    "event-source-polyfill": (url, headers, heard) => listen(new EventSourcePolyfill(url, { headers }), heard),
    "reconnecting-eventsource": (url, headers, heard) => listen(new ReconnectingEventSource(url, {
      eventSourceClass: class extends EventSource { constructor(url) { super(url, withHeaders(headers)); } },
    }), heard),
    "sse.js": (url, headers, heard) => listen(new SSE(url, { headers: { ...headers, Accept: "text/event-stream" } }), heard),
  };`;

test("no client library for Server-Sent Events passes on an empty message", async () => {
  const [server, browser, { outputFiles }] = await Promise.all([
    startServer(), launch(),
    build({ stdin: { contents: libraries, resolveDir: import.meta.dirname }, bundle: true, write: false, format: "iife" }),
  ]);
  const page = await browser.newPage();
  await page.goto(`${server.local}healthz`);
  await page.evaluate(outputFiles[0].text);
  const heard = await page.evaluate(async (other) => { // a browser allows six connections to one host
    const headersOf = (id) => ({ Authorization: `Basic ${btoa(`${id}:secret`)}` });
    const until = async (what, condition) => {
      for (const deadline = performance.now() + 60_000; !condition(); await new Promise((resolve) => setTimeout(resolve, 20))) {
        if (performance.now() > deadline) throw new Error(`${what}: ${JSON.stringify(heard)}`);
      }
    };
    const ids = Object.keys(libraries);
    const heard = Object.fromEntries(ids.map((id) => [id, []]));
    const send = (body) => Promise.all(ids.map((id) => fetch(`${other}inbox?to=${encodeURIComponent(id)}`, { method: "POST", headers: headersOf("sender"), body })));
    await Promise.all(ids.map((id) => fetch(`${other}inbox?limit=0`, { headers: headersOf(id) })));
    for (const id of ids) libraries[id]("/inbox?after=0", headersOf(id), (event) => heard[id].push(event));

    // An additional stream shows when the server has written a comment into each.
    const { body } = await fetch(`${other}inbox?after=0`, { headers: { ...headersOf("watcher"), Accept: "text/event-stream" } });
    const comment = (async () => {
      let text = "";
      for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
        if ((text += chunk).includes("\n:\n")) return;
      }
    })();
    const came = (n) => until(`${n} messages`, () => ids.every((id) => heard[id].length >= n));
    await comment;
    await send("one");
    await came(1);
    await send("");
    await came(2);
    await Promise.all(ids.map((id) => fetch(`${other}inbox`, { method: "DELETE", headers: headersOf(id) })));
    await came(3);
    return heard;
  }, server.url);
  assert.equal(Object.keys(heard).length, 6);
  for (const [library, events] of Object.entries(heard)) {
    assert.deepEqual(events.map(({ kind }) => kind), ["message", "message", "closed"], library);
    for (const { data, id } of events) assert.ok(data && id, `${library} passed on ${JSON.stringify(events)}`);
    assert.deepEqual(events.map(({ data }) => JSON.parse(data).body), ["one", "", undefined], library);
  }
});
