/** Pages of another origin that add headers to every request, as tracing tools do. */

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { closeBrowsers, launch } from "./browser.js";
import { startServer, stopServers } from "./server.js";

after(async () => {
  await closeBrowsers();
  await stopServers();
});

/** Uses a server as an application with tracing does. Runs in the page. */
async function useTraced(server) {
  const headers = {
    "Authorization": `Basic ${btoa("alice:secret")}`, "Idempotency-Key": "k", "traceparent": "00-1-2-01", "tracestate": "a=b",
    "baggage": "x=y", "b3": "0", "X-Requested-With": "fetch", "x-datadog-trace-id": "1",
  };
  const answers = [];
  for (const [method, query] of [["GET", "?limit=0"], ["POST", "?to=alice"], ["GET", "?after=0"], ["DELETE", ""]]) {
    await fetch(`${server}inbox${query}`, { method, headers, body: method === "POST" ? "hello" : undefined, credentials: "omit" }).then(
      async (answer) => answers.push([answer.status, answer.headers.get("X-From"), await answer.text()]),
      () => answers.push("blocked"));
  }
  for (const path of ["peerjs/id", "peerjs/peers"]) {
    await fetch(`${server}${path}`, { headers: { traceparent: "00-1-2-01" } }).then((answer) => answers.push(answer.status), () => answers.push("blocked"));
  }
  return answers;
}

test("a page of an allowed origin may add headers, and the log names the flag for other origins", async () => {
  // A separate server serves the pages under two host names.
  const [pages, browser] = await Promise.all([startServer(), launch()]);
  const allowed = new URL(pages.local).origin;
  const [any, named] = await Promise.all([startServer(), startServer(["--allow-origin", allowed])]);
  const page = await browser.newPage();
  const works = [[204, null, ""], [200, null, ""], [200, "alice", "hello"], [204, null, ""], 200, 401];
  await page.goto(`${pages.local}healthz`);
  assert.deepEqual(await page.evaluate(useTraced, any.url), works);
  assert.deepEqual(await page.evaluate(useTraced, named.url), works);
  assert.doesNotMatch(named.log(), /refused a page/);

  await page.goto(`${pages.url}healthz`);
  assert.deepEqual(await page.evaluate(useTraced, any.url), works);
  assert.deepEqual(await page.evaluate(useTraced, named.url), Array(6).fill("blocked"));
  const opened = await page.evaluate((url) => new Promise((resolve) => {
    const socket = new WebSocket(`${url.replace("http", "ws")}inbox`, "inbox.v1");
    socket.onopen = () => resolve(true);
    socket.onclose = () => resolve(false);
  }), named.url);
  assert.equal(opened, false);
  // One warning for /inbox and one for PeerJS, however many requests the page makes.
  const { origin } = new URL(pages.url);
  const warnings = named.log().split("\n").filter((line) => line.includes("refused a page"));
  assert.equal(warnings.length, 2, warnings.join("\n"));
  for (const line of warnings) assert.ok(line.includes(`origin=${origin} host=${new URL(named.url).host} try="--allow-origin ${origin}"`), line);
});
