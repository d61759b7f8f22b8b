/** Real networks: servers that restart, proxies that interfere, connections that drop. */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before } from "node:test";
import { openPage, startBrowser, stopBrowser, takeFaults } from "../support/browser.js";
import { startProxy, stopProxies } from "../support/proxy.js";
import { startServer, stopServers } from "../support/server.js";
import { test } from "../support/test.js";

let alice;
let bob;
let folder;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "inbox-sdk-"));
  await startBrowser();
  [alice, bob] = await Promise.all([openPage(), openPage()]);
});

afterEach(async () => {
  await Promise.all([alice, bob].map((page) => page.evaluate(() => cleanUp())));
  await Promise.all([stopProxies(), stopServers()]);
  assert.deepEqual(takeFaults(), []);
});

after(async () => {
  await stopBrowser();
  rmSync(folder, { recursive: true, force: true });
});

const answers = (page, url, id = "bob") =>
  page.evaluate(async ([url, id]) => {
    globalThis.inbox = openInbox(url, id);
    await answerAll(inbox);
  }, [url, id]);

const begins = (page, url, id = "alice") =>
  page.evaluate(([url, id]) => void (globalThis.inbox = openInbox(url, id)), [url, id]);

const calls = (page, peer = "bob", options = {}) => page.evaluate(async ([peer, options]) => {
  globalThis.pc = await connect(inbox, peer, options);
  return talk(pc);
}, [peer, options]);

for (const [name, habits, expected] of [
  ["an honest proxy", {}, "socket"],
  ["a proxy that refuses WebSockets", { refuseUpgrade: true }, "stream"],
  ["a proxy that refuses WebSockets and keeps streams", { refuseUpgrade: true, buffer: true }, "poll"],
]) {
  test(`through ${name}: ${expected}`, async (t) => {
    const server = await startServer();
    const proxy = await startProxy(server.url, habits);
    const begun = performance.now();
    await Promise.all([answers(bob, proxy.url), begins(alice, proxy.url)]);
    t.diagnostic(`open after ${Math.round(performance.now() - begun)} ms`);
    assert.equal(await calls(alice), "bob heard hello");
    assert.deepEqual(await bob.evaluate(() => inbox.told), [expected]);
    // And in the other direction, with all signals of a call.
    await alice.evaluate(() => answerAll(inbox));
    assert.equal(await calls(bob, "alice"), "alice heard hello");
    t.diagnostic(JSON.stringify(proxy.seen));
    assert.equal(proxy.seen.upgrades > 0, true);
    assert.equal(proxy.seen.streams > 0, expected !== "socket");
  });
}

for (const [name, snapshot] of [["keeps its inboxes", true], ["forgets its inboxes", false]]) {
  const flags = () => (snapshot ? ["--snapshot", join(folder, "snapshot")] : []);
  const restart = async (server) => {
    await (snapshot ? server.stop() : server.kill());
    return startServer(flags(), server.port);
  };

  test(`a server that restarts and ${name}, while it rings`, async () => {
    const server = await startServer(flags());
    await bob.evaluate(async (url) => {
      globalThis.inbox = openInbox(url, "bob");
      void (async () => {
        for await (const call of accept(inbox)) globalThis.ringing = call;
      })();
      await until(() => inbox.transport);
    }, server.url);
    await begins(alice, server.url);
    const heard = calls(alice);
    await bob.waitForFunction(() => globalThis.ringing);
    await restart(server);
    const answered = await bob.evaluate(async () => {
      const pc = await ringing.accept({
        setup(pc) {
          pc.ondatachannel = ({ channel }) => (channel.onmessage = ({ data }) => channel.send(`bob heard ${data}`));
        },
      });
      ringing = undefined;
      return pc.connectionState;
    });
    assert.equal(answered, "connected");
    assert.equal(await heard, "bob heard hello");
  });

  test(`a server that restarts and ${name}, in the middle of a handshake`, async (t) => {
    let server = await startServer(flags());
    // When bob is about to send for the first time, and for the second time.
    for (const signals of [1, 2]) {
      await answers(bob, server.url, `bob ${signals}`);
      await begins(alice, server.url, `alice ${signals}`);
      await bob.evaluate((signals) => {
        let said = 0;
        const { send } = inbox;
        inbox.send = async (...given) => {
          if (++said >= signals) {
            globalThis.reached = true;
            await until(() => globalThis.restarted);
          }
          return send.apply(inbox, given);
        };
        globalThis.reached = globalThis.restarted = false;
      }, signals);
      const heard = calls(alice, `bob ${signals}`);
      await bob.waitForFunction(() => globalThis.reached);
      const begun = performance.now();
      server = await restart(server);
      await bob.evaluate(() => void (globalThis.restarted = true));
      assert.equal(await heard, `bob ${signals} heard hello`);
      t.diagnostic(`connected ${Math.round(performance.now() - begun)} ms after the server was told to stop`);
    }
  });
}

test("peers wait for a server that starts later", async () => {
  const server = await startServer();
  await server.kill();
  await begins(alice, server.url);
  const ready = bob.evaluate(async (url) => {
    globalThis.inbox = openInbox(url, "bob");
    await answerAll(inbox);
  }, server.url);
  const heard = calls(alice, "bob", { wait: 30_000 }); // either of them may reach the server first
  await bob.waitForFunction(() => inbox.told.includes("unreachable"));
  await startServer([], server.port);
  await ready;
  assert.equal(await heard, "bob heard hello");
});

test("a connection outlives a restart of the server, and can be changed afterwards", async () => {
  const server = await startServer();
  await answers(bob, server.url);
  await begins(alice, server.url);
  assert.equal(await calls(alice), "bob heard hello");
  await server.kill();
  assert.equal(await alice.evaluate(() => talk(pc, "without a server")), "bob heard without a server");
  await startServer([], server.port);
  const changed = await alice.evaluate(async () => {
    const before = ufrag(pc);
    pc.restartIce();
    await until(() => ufrag(pc) !== before && pc.signalingState === "stable" && pc.connectionState === "connected");
    return talk(pc, "again");
  });
  assert.equal(changed, "bob heard again");
});

test("a handshake survives ten seconds offline", async (t) => {
  const server = await startServer();
  await bob.evaluate(async (url) => {
    globalThis.inbox = openInbox(url, "bob");
    globalThis.ringing = undefined;
    void (async () => {
      for await (const call of accept(inbox)) globalThis.ringing = call;
    })();
    await until(() => inbox.transport);
  }, server.url);
  await begins(alice, server.url);
  const heard = alice.evaluate(async () => {
    globalThis.pc = await connect(inbox, "bob");
    return pc.connectionState;
  });
  await bob.waitForFunction(() => globalThis.ringing);
  await alice.context().setOffline(true);
  await alice.waitForFunction(() => inbox.told.at(-1) !== "socket");
  await bob.evaluate(() => void ringing.accept().catch(() => {}));
  await new Promise((resolve) => setTimeout(resolve, 10_000)); // being offline is the test
  const begun = performance.now();
  await alice.context().setOffline(false);
  assert.equal(await heard, "connected");
  t.diagnostic(`connected ${Math.round(performance.now() - begun)} ms after the line was back`);
});

test("messages that are sent to an offline page arrive when it is online again", async () => {
  const server = await startServer();
  await alice.evaluate(async (url) => {
    globalThis.inbox = openInbox(url, "alice");
    globalThis.got = [];
    void (async () => {
      for await (const { text } of inbox.messages()) got.push(text);
    })();
    await until(() => inbox.transport);
  }, server.url);
  await alice.context().setOffline(true);
  await bob.evaluate(async (url) => {
    globalThis.inbox = openInbox(url, "bob");
    for (let i = 0; i < 50; i++) await inbox.send("alice", `${i}`);
  }, server.url);
  assert.deepEqual(await alice.evaluate(() => got), []);
  await alice.context().setOffline(false);
  await alice.waitForFunction(() => got.length === 50);
  assert.deepEqual(await alice.evaluate(() => got), Array.from({ length: 50 }, (_, i) => `${i}`));
});
