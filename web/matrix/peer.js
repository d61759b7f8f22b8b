/**
 * A browser in one of the networks of the matrix (see /matrix). It prints "ready" when it
 * can be called, or the outcome of the call that it makes as JSON.
 *
 *   node peer.js '{"Browser":"chromium","ID":"alice","To":"bob","Proxy":"http://…","URL":"https://…/"}'
 */

import { chromium } from "playwright-core";
import { chromiumOptions } from "../e2e/chromium.js";
import { startFirefox } from "../e2e/firefox.js";

const { Browser, ID, To, Proxy, URL, Within } = JSON.parse(process.argv[2]);

const browser = await (Browser === "firefox"
  ? startFirefox({ camera: false, preferences: proxied() })
  : chromium.launch({
      // Without mDNS, since the networks have no multicast. The browser does not know the test's authority.
      ...chromiumOptions({ devices: 0, names: false, flags: ["--ignore-certificate-errors"] }),
      ...(Proxy && { proxy: { server: Proxy } }),
    }));
process.once("SIGTERM", () => browser.close().finally(() => process.exit()));

function proxied() {
  if (!Proxy) return undefined;
  const { hostname, port } = new globalThis.URL(Proxy);
  return { "network.proxy.type": 1, "network.proxy.ssl": hostname, "network.proxy.ssl_port": Number(port) };
}

const page = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage();
page.on("console", (message) => console.error(message.text()));
await page.goto(URL);
await page.evaluate(prepare, { ID });
if (To) {
  console.log(JSON.stringify(await page.evaluate(call, { To, timeout: Within / 1e6 })));
  await browser.close();
} else {
  await page.evaluate(answer);
  console.log("ready");
}

/** Opens the inbox. This and the following functions run in the page. */
async function prepare({ ID }) {
  const { Inbox, accept, connect } = await import("/inbox.js");
  globalThis.sdk = { accept, connect, inbox: new Inbox("/inbox", { id: ID, password: `password of ${ID}` }) };
}

async function answer() {
  const { accept, inbox } = sdk;
  const calls = accept(inbox);
  // Start receiving now, so that the inbox exists when this returns.
  const first = calls.next();
  await fetch("/inbox?after=0&limit=0", { headers: { Authorization: `Basic ${btoa(`${inbox.id}:password of ${inbox.id}`)}` } });
  (async () => {
    for (let next = await first; !next.done; next = await calls.next()) {
      next.value.accept({
        setup: (pc) => {
          pc.ondatachannel = ({ channel }) => (channel.onmessage = ({ data }) => channel.send(data));
        },
      }).catch((error) => console.error(error.message));
    }
  })().catch((error) => console.error(error.message));
}

async function call({ To, timeout }) {
  const packets = 20;
  const began = performance.now();
  try {
    let opened;
    const open = new Promise((resolve) => (opened = resolve));
    const pc = await sdk.connect(sdk.inbox, To, {
      timeout,
      setup: (pc) => {
        const channel = pc.createDataChannel("echo");
        channel.onopen = () => opened(channel);
      },
    });
    const channel = await open;
    const Took = Math.round((performance.now() - began) * 1e6);
    let echoes = 0;
    await new Promise((resolve, reject) => {
      channel.onmessage = () => ++echoes === packets && resolve();
      channel.onclose = () => reject(new Error("connected, but packets do not return"));
      for (let i = 0; i < packets; i++) channel.send("hello");
    });
    const stats = [...(await pc.getStats()).values()];
    const transport = stats.find(({ type }) => type === "transport");
    const pair = stats.find(({ type, id, nominated, state }) =>
      type === "candidate-pair" && (transport?.selectedCandidatePairId ? id === transport.selectedCandidatePairId : nominated && state === "succeeded"));
    const local = stats.find(({ id }) => id === pair.localCandidateId);
    const remote = stats.find(({ id }) => id === pair.remoteCandidateId);
    const relayed = [local, remote].some(({ candidateType }) => candidateType === "relay");
    pc.close();
    return { Connected: true, Path: relayed ? "relay" : "direct", Transport: local.relayProtocol ?? local.protocol, Took };
  } catch (error) {
    return { Connected: false, Why: `${error.code}: ${error.message}` };
  }
}
