/** Firefox and Chromium connect through the server's relay only, and report it. */

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { launch, launchFirefox, person } from "../e2e/browser.js";
import { cleanUp } from "../e2e/hooks.js";
import { startServer } from "../e2e/server.js";

let server, firefox, chromium;

before(async () => {
  [server, firefox, chromium] = await Promise.all([startServer(), launchFirefox({ camera: false }), launch({ camera: false, names: false })]);
});
cleanUp(() => [firefox, chromium], { provoked: true });

let round = 0;

for (const [way, who] of [
  ["Firefox calls Chromium", () => [firefox, chromium]],
  ["Chromium calls Firefox", () => [chromium, firefox]],
  ["Firefox calls Firefox", () => [firefox, firefox]],
]) {
  for (const transport of ["udp", "tcp"]) {
    test(`${way} through a relay, over ${transport} on the caller's side`, { timeout: 120_000 }, async () => {
      const ids = [`relay caller ${++round}`, `relay callee ${round}`];
      const pages = await Promise.all(who().map((browser) => person(browser)));
      await Promise.all(pages.map(async (page, i) => {
        await page.goto(server.local);
        await page.evaluate(async (id) => {
          Object.assign(globalThis, await import("/inbox.js"));
          // Firefox's driver does not show the bodies of requests.
          const { fetch } = globalThis;
          globalThis.outcomes = [];
          globalThis.fetch = (url, init) => {
            if (`${url}`.endsWith("/outcome")) outcomes.push(JSON.parse(init.body));
            return fetch(url, init);
          };
          globalThis.inbox = new Inbox("/inbox", { id, password: randomPassword() });
        }, ids[i]);
      }));
      const [caller, callee] = pages;
      await callee.evaluate(() => {
        globalThis.echoing = (async () => {
          for await (const call of accept(inbox, { configuration: { iceTransportPolicy: "relay" } })) {
            await call.accept({ setup: (pc) => void (pc.ondatachannel = ({ channel }) => (channel.onmessage = ({ data }) => channel.send(`${data} back`))) });
          }
        })().catch(() => {});
      });
      const heard = await caller.evaluate(async ([to, transport]) => {
        const own = async () => {
          const { iceServers } = await (await fetch("/ice", { headers: { Authorization: `Basic ${btoa("somebody:else")}` } })).json();
          return iceServers.map((server) => ({ ...server, urls: server.urls.filter((url) => url.endsWith(transport)) })).filter(({ urls }) => urls.length);
        };
        const pc = await connect(inbox, to, {
          wait: 30_000,
          // The SDK itself fetches servers for both transports.
          ...(transport === "tcp" && { iceServers: own }),
          configuration: { iceTransportPolicy: "relay" },
          setup: (pc) => void (globalThis.channel = pc.createDataChannel("x")),
        });
        const answer = await new Promise((resolve) => {
          channel.onmessage = ({ data }) => resolve(data);
          const say = () => channel.send("there and");
          if (channel.readyState === "open") say();
          else channel.onopen = say;
        });
        globalThis.pc = pc;
        return answer;
      }, [ids[1], transport]);
      assert.equal(heard, "there and back");
      // The SDK reports the path once ICE has settled on it.
      await caller.waitForFunction(() => outcomes.length > 0);
      const [outcome, ...more] = await caller.evaluate(() => outcomes);
      assert.deepEqual(more, []);
      assert.deepEqual([outcome.result, outcome.path, outcome.transport], ["connected", "relay", transport]);
      assert.deepEqual(await callee.evaluate(() => outcomes), []);
      await caller.evaluate(() => pc.close());
    });
  }
}
