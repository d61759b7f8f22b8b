/** Calls between browsers through a real server. */

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach } from "node:test";
import { newContext, openPage, startBrowser, stopBrowser, takeFaults } from "../support/browser.js";
import { startServer, stopServers } from "../support/server.js";
import { test } from "../support/test.js";

let server;
let alice;
let bob;
let round = 0;

before(async () => {
  [server] = await Promise.all([startServer(), startBrowser()]);
  [alice, bob] = await Promise.all([openPage(), openPage()]);
});

after(async () => {
  await stopBrowser();
  await stopServers();
});

// Names that no earlier test has used.
beforeEach(() => round++);
afterEach(() => Promise.all([alice, bob].map((page) => page.evaluate(() => cleanUp()))));
const names = () => ({ url: server.url, a: `alice ${round}`, b: `bob ${round}` });

const answers = (page, id) =>
  page.evaluate(async ([url, id]) => {
    globalThis.inbox = openInbox(url, id);
    await answerAll(inbox);
  }, [server.url, id]);

/** Opens an inbox that rings and does not answer. */
const rings = (page, id) =>
  page.evaluate(async ([url, id]) => {
    globalThis.inbox = openInbox(url, id);
    globalThis.calls = [];
    void (async () => {
      for await (const call of accept(inbox)) calls.push(call);
    })();
    await until(() => inbox.transport);
  }, [server.url, id]);

function faultless(t) {
  t.after(() => assert.deepEqual(takeFaults(), []));
}

test("two browsers connect, in well under 2 seconds", async (t) => {
  faultless(t);
  const { url, a, b } = names();
  await answers(bob, b);
  const { took, heard } = await alice.evaluate(async ([url, a, b]) => {
    globalThis.inbox = openInbox(url, a);
    const begun = performance.now();
    globalThis.pc = await connect(inbox, b);
    const took = Math.round(performance.now() - begun);
    return { took, heard: await talk(pc), state: pc.connectionState };
  }, [url, a, b]);
  t.diagnostic(`connected in ${took} ms`);
  assert.equal(heard, `${b} heard hello`);
});

test("a call can start with channels and tracks", async (t) => {
  faultless(t);
  const { url, a, b } = names();
  await bob.evaluate(async ([url, b]) => {
    globalThis.inbox = openInbox(url, b);
    globalThis.got = [];
    await answerAll(inbox, {
      async setup(pc) {
        pc.ondatachannel = ({ channel }) => {
          channel.onmessage = ({ data }) => channel.send(`heard ${data}`);
        };
        pc.ontrack = ({ track }) => got.push(track.kind);
        const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
        pc.addTrack(stream.getAudioTracks()[0], stream);
      },
    });
  }, [url, b]);
  const result = await alice.evaluate(async ([url, a, b]) => {
    globalThis.inbox = openInbox(url, a);
    const got = [];
    let channel;
    globalThis.pc = await connect(inbox, b, {
      async setup(pc) {
        pc.ontrack = ({ track }) => got.push(track.kind);
        const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
        for (const track of stream.getTracks()) pc.addTrack(track, stream);
        channel = pc.createDataChannel("first");
      },
    });
    await until(() => channel.readyState === "open" && got.length === 1);
    channel.send("me");
    const heard = await new Promise((resolve) => (channel.onmessage = ({ data }) => resolve(data)));
    return { got, heard };
  }, [url, a, b]);
  assert.deepEqual(result, { got: ["audio"], heard: "heard me" });
  assert.deepEqual(await bob.evaluate(() => got.sort()), ["audio", "video"]);
});

test("both sides can add channels and tracks at any time, also at once", async (t) => {
  faultless(t);
  const { url, a, b } = names();
  await answers(bob, b);
  await alice.evaluate(async ([url, a, b]) => {
    globalThis.inbox = openInbox(url, a);
    globalThis.pc = await connect(inbox, b);
  }, [url, a, b]);
  await bob.evaluate(async () => (globalThis.pc = await until(() => inbox.connections[0])));
  for (const round of [1, 2, 3]) {
    const kinds = await Promise.all([alice, bob].map((page) =>
      page.evaluate(async (round) => {
        const got = [];
        pc.ontrack = ({ track }) => got.push(track.kind);
        const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
        for (const track of stream.getTracks()) pc.addTrack(track, stream);
        await until(() => pc.getTransceivers().filter(({ currentDirection }) => currentDirection?.includes("recv")).length >= 2 * round);
        await until(() => pc.signalingState === "stable");
        return pc.connectionState;
      }, round)));
    assert.deepEqual(kinds, ["connected", "connected"]);
  }
  assert.equal(await alice.evaluate(() => talk(pc)), `${b} heard hello`);
});

test("a side that hangs up or leaves its page ends the call", async (t) => {
  faultless(t);
  const { url, a, b } = names();
  await answers(bob, b);
  const guest = await openPage();
  for (const leave of [(page) => page.evaluate(() => pc.close()), (page) => page.goto("about:blank"), (page) => page.close()]) {
    const page = leave.toString().includes("pc.close") ? guest : await openPage();
    await page.evaluate(async ([url, a, b]) => {
      globalThis.inbox = openInbox(url, a + Math.random());
      globalThis.pc = await connect(inbox, b);
    }, [url, a, b]);
    const closed = bob.evaluate(async () => {
      const pc = await until(() => inbox.connections.shift());
      await new Promise((resolve) => pc.addEventListener("connectionstatechange", () => pc.connectionState === "closed" && resolve()));
      return [inbox.calls.pop().signal.reason.code, (await pc.ended).code];
    });
    await leave(page);
    assert.deepEqual(await closed, ["ended", "ended"]);
    if (page === guest) assert.equal(await page.evaluate(async () => (await pc.ended).code), "closed");
    if (page !== guest) await page.close();
  }
  await guest.close();
});

test("a call can be rejected with a reason", async (t) => {
  faultless(t);
  const { url, a, b } = names();
  await bob.evaluate(async ([url, b]) => {
    globalThis.inbox = openInbox(url, b);
    void (async () => {
      for await (const call of accept(inbox)) call.reject(`not now, ${call.from}`);
    })();
    await until(() => inbox.transport);
  }, [url, b]);
  const error = await alice.evaluate(([url, a, b]) => failure(connect((globalThis.inbox = openInbox(url, a)), b)), [url, a, b]);
  assert.equal(error.name, "CallError");
  assert.equal(error.code, "rejected");
  assert.equal(error.reason, `not now, ${a}`);
});

test("a call to a peer without an inbox is no-such-peer", async (t) => {
  faultless(t);
  const { url, a } = names();
  const { error, took } = await alice.evaluate(async ([url, a]) => {
    globalThis.inbox = openInbox(url, a);
    const begun = performance.now();
    return { error: await failure(connect(inbox, "nobody at all")), took: Math.round(performance.now() - begun) };
  }, [url, a]);
  t.diagnostic(`known after ${took} ms`);
  assert.equal(error.code, "no-such-peer");
  assert.equal(error.cause, "no-such-inbox");
  assert.equal(error.tried.offers, 1);
});

test("wait connects to a peer who opens an inbox later", async (t) => {
  faultless(t);
  const { url, a, b } = names();
  const connected = alice.evaluate(async ([url, a, b]) => {
    globalThis.inbox = openInbox(url, a);
    return talk(await connect(inbox, b, { wait: 20_000 }));
  }, [url, a, b]);
  await alice.waitForFunction((a) => globalThis.inbox?.id === a && inbox.transport, a);
  await answers(bob, b);
  assert.equal(await connected, `${b} heard hello`);
});

test("a call that is not accepted is no-answer", async (t) => {
  faultless(t);
  const { url, a, b } = names();
  await rings(bob, b);
  const error = await alice.evaluate(([url, a, b]) =>
    failure(connect((globalThis.inbox = openInbox(url, a)), b, { timeout: 3000 })), [url, a, b]);
  assert.equal(error.code, "no-answer");
  // The other side stops ringing.
  assert.equal(await bob.evaluate(async () => {
    const call = await until(() => calls[0]);
    await until(() => call.signal.aborted);
    return (await failure(call.accept())).code;
  }), "ended");
});

test("a call without a path is ice-failed and reports what it tried", async (t) => {
  faultless(t);
  const { url, a, b } = names();
  await answers(bob, b);
  const error = await alice.evaluate(([url, a, b]) =>
    failure(connect((globalThis.inbox = openInbox(url, a)), b, {
      timeout: 4000,
      configuration: { iceTransportPolicy: "relay" },
      iceServers: async () => [{ urls: "stun:127.0.0.1:9" }],
    })), [url, a, b]);
  assert.equal(error.code, "ice-failed");
  assert.deepEqual(error.tried.local, []);
  assert.ok(error.tried.remote.includes("host"), `${error.tried.remote}`);
  assert.equal(error.tried.cause, "no-candidates");
  assert.equal(await bob.evaluate(async () => (await until(() => inbox.failures[0])).code), "ice-failed");
});

test("an abort ends a call on both sides", async (t) => {
  faultless(t);
  const { url, a, b } = names();
  await rings(bob, b);
  const failed = alice.evaluate(async ([url, a, b]) => {
    globalThis.inbox = openInbox(url, a);
    globalThis.ends = new AbortController();
    return failure(connect(inbox, b, { signal: ends.signal }));
  }, [url, a, b]);
  await bob.waitForFunction(() => calls.length);
  await alice.evaluate(() => ends.abort());
  assert.equal((await failed).name, "AbortError");
  await bob.waitForFunction(() => calls[0].signal.aborted);
  // An aborted call makes no request.
  assert.equal(await alice.evaluate(async (b) => (await failure(connect(inbox, b, { signal: AbortSignal.abort() }))).name, b), "AbortError");
});

test("a function that fetches ICE servers, or sets up, may fail", async (t) => {
  faultless(t);
  const { url, a, b } = names();
  await answers(bob, b);
  const messages = await alice.evaluate(async ([url, a, b]) => {
    globalThis.inbox = openInbox(url, a);
    const throws = () => Promise.reject(new Error("mine"));
    // Chromium's message for an invalid list.
    const refused = { iceServers: [{ urls: "nonsense" }] };
    return [
      await failure(connect(inbox, b, { iceServers: throws })),
      await failure(connect(inbox, b, { setup: throws })),
      await failure(connect(inbox, b, refused)),
    ];
  }, [url, a, b]);
  assert.deepEqual(messages.map(({ name, code }) => [name, code]), Array(3).fill(["CallError", "setup-failed"]));
  assert.deepEqual(messages.slice(0, 2).map(({ message }) => message), Array(2).fill("This side could not set up the connection: mine"));
});

for (const [how, script] of [
  ["missing", "delete globalThis.RTCPeerConnection; delete globalThis.webkitRTCPeerConnection"],
  ["made to throw", "globalThis.RTCPeerConnection = class { constructor() { throw new Error('blocked'); } }"],
]) {
  test(`a browser whose RTCPeerConnection is ${how} is no-webrtc, and the other side gets the error within seconds`, async (t) => {
    faultless(t);
    const { url, a, b } = names();
    const without = await openPage();
    t.after(() => without.close());
    await without.evaluate(script);
    await without.evaluate(async ([url, b]) => {
      globalThis.inbox = openInbox(url, b);
      await answerAll(inbox);
    }, [url, b]);
    const { error, took } = await alice.evaluate(async ([url, a, b]) => {
      globalThis.inbox = openInbox(url, a);
      const begun = performance.now();
      return { error: await failure(connect(inbox, b)), took: performance.now() - begun };
    }, [url, a, b]);
    assert.deepEqual([error.name, error.code, error.reason], ["CallError", "peer-failed", "no-webrtc"]);
    assert.ok(took < 5000, `${took} ms`);
    const own = await without.evaluate(async (a) => [
      (await until(() => inbox.failures[0])).code, (await failure(connect(inbox, a))).code,
    ], a);
    assert.deepEqual(own, ["no-webrtc", "no-webrtc"]);
  });
}

test("a setup that fails on the callee's side ends the call on both sides within seconds", async (t) => {
  faultless(t);
  const { url, a, b } = names();
  await bob.evaluate(async ([url, b]) => {
    globalThis.inbox = openInbox(url, b);
    await answerAll(inbox, { setup: () => Promise.reject(new Error("no camera")) });
  }, [url, b]);
  const error = await alice.evaluate(([url, a, b]) => failure(connect((globalThis.inbox = openInbox(url, a)), b)), [url, a, b]);
  assert.deepEqual([error.code, error.reason], ["peer-failed", "setup-failed"]);
});

test("a peer that calls itself gets own-id immediately", async (t) => {
  faultless(t);
  const { url, a } = names();
  const error = await alice.evaluate(([url, a]) => failure(connect((globalThis.inbox = openInbox(url, a)), a)), [url, a]);
  assert.deepEqual([error.name, error.code, error.message], ["CallError", "own-id", "A peer cannot call itself."]);
});

test("peers with ids of any characters can call", async (t) => {
  faultless(t);
  const { url } = names();
  const ids = ["日本 🦊 ﷽ %41", 'a&b=c?d#e"<>\\', "é\u0301\u2028x", "A".repeat(512)];
  for (const [i, id] of ids.entries()) {
    await answers(bob, id);
    const heard = await alice.evaluate(async ([url, id, peer]) => {
      globalThis.inbox = openInbox(url, id);
      return talk(await connect(inbox, peer));
    }, [url, `ü${round}${ids[(i + 1) % 3]}`, id]);
    assert.equal(heard, `${id} heard hello`);
  }
});

test("two calls between the same two peers do not mix", async (t) => {
  faultless(t);
  const { url, a, b } = names();
  await answers(bob, b);
  const result = await alice.evaluate(async ([url, a, b]) => {
    globalThis.inbox = openInbox(url, a);
    const [first, second] = await Promise.all([connect(inbox, b), connect(inbox, b)]);
    const heard = await Promise.all([talk(first, "one"), talk(second, "two")]);
    first.close();
    return { same: first === second, heard, again: await talk(second, "three") };
  }, [url, a, b]);
  assert.deepEqual(result, { same: false, heard: [`${b} heard one`, `${b} heard two`], again: `${b} heard three` });
});

test("messages and calls share one receiver", async (t) => {
  faultless(t);
  const { url, a, b } = names();
  // The loops over messages begin first. Calls take precedence nevertheless.
  await bob.evaluate(([url, b]) => {
    globalThis.inbox = openInbox(url, b);
    globalThis.texts = [];
    void (async () => {
      for await (const { from, data } of inbox.messages()) {
        texts.push(data);
        // A call from within the loop does not wait for its next turn.
        if (data.call) await talk(await connect(inbox, from));
        await inbox.send(from, { done: data });
      }
    })();
    return answerAll(inbox);
  }, [url, b]);
  const heard = await alice.evaluate(async ([url, a, b]) => {
    globalThis.inbox = openInbox(url, a);
    const got = [];
    void (async () => {
      for await (const { data } of inbox.messages()) got.push(data);
    })();
    await answerAll(inbox);
    await inbox.send(b, { call: true });
    await inbox.send(b, { text: "after it" });
    await until(() => got.length === 2);
    return [got, inbox.calls.length, inbox.told];
  }, [url, a, b]);
  assert.deepEqual(heard, [[{ done: { call: true } }, { done: { text: "after it" } }], 1, ["socket"]]);
});

test("the older of two tabs with one id gets `replaced` and stops", async (t) => {
  faultless(t);
  const { url, a, b } = names();
  const context = await newContext();
  const [older, newer] = [await openPage(context), await openPage(context)];
  await answers(older, b);
  await answers(newer, b);
  const error = await older.evaluate(async () => {
    const error = await until(() => inbox.error);
    return { name: error.name, code: error.code, told: inbox.told, transport: String(inbox.transport) };
  });
  assert.deepEqual(error, { name: "InboxError", code: "replaced", told: ["socket"], transport: "undefined" });
  assert.equal(await alice.evaluate(async ([url, a, b]) =>
    talk(await connect((globalThis.inbox = openInbox(url, a)), b)), [url, a, b]), `${b} heard hello`);
  assert.deepEqual(await newer.evaluate(() => [inbox.told, inbox.calls.length]), [["socket"], 1]);
  // A call of the older one ends with the same error.
  assert.equal((await newer.evaluate((b) => failure(connect(inbox, `${b}'s nobody`)), b)).code, "no-such-peer");
  await context.close();
});

test("ICE is restarted when the network has changed", async (t) => {
  faultless(t);
  const { url, a, b } = names();
  await answers(bob, b);
  const [before, afterwards, heard] = await alice.evaluate(async ([url, a, b]) => {
    globalThis.inbox = openInbox(url, a);
    globalThis.pc = await connect(inbox, b);
    const before = ufrag(pc);
    dispatchEvent(new Event("online"));
    await until(() => ufrag(pc) !== before && pc.signalingState === "stable" && pc.connectionState === "connected");
    return [before, ufrag(pc), await talk(pc)];
  }, [url, a, b]);
  assert.notEqual(before, afterwards);
  assert.equal(heard, `${b} heard hello`);
});

test("a reloaded page continues from its cursor", async (t) => {
  faultless(t);
  const { url, a, b } = names();
  const page = await openPage();
  const begin = (id) => page.evaluate(async ([url, id]) => {
    globalThis.inbox = openInbox(url, id, { storage: sessionStorage });
    globalThis.got = [];
    globalThis.resets = 0;
    void (async () => {
      for await (const { text } of inbox.messages({ onreset: () => resets++ })) got.push(text);
    })();
    await until(() => inbox.transport);
  }, [url, id]);
  await begin(b);
  const send = (text) => alice.evaluate(async ([url, a, b, text]) => openInbox(url, a).send(b, text), [url, a, b, text]);
  await send("one");
  await page.waitForFunction(() => got.length === 1);
  await page.reload();
  await page.waitForFunction(() => globalThis.ready);
  await send("two");
  await begin(b);
  await page.waitForFunction(() => got.length === 1);
  assert.deepEqual(await page.evaluate(() => [got, resets]), [["two"], 0]);
  await page.close();
});

test("a page that is reloaded during a call calls again, and the old connection is closed", async (t) => {
  faultless(t);
  const { url, a, b } = names();
  await answers(bob, b);
  const page = await openPage();
  const calls = () => page.evaluate(async ([url, a, b]) => {
    globalThis.inbox = openInbox(url, a, { storage: sessionStorage });
    globalThis.pc = await connect(inbox, b);
    return talk(pc);
  }, [url, a, b]);
  assert.equal(await calls(), `${b} heard hello`);
  await page.reload();
  await page.waitForFunction(() => globalThis.ready);
  assert.equal(await calls(), `${b} heard hello`);
  const known = await bob.evaluate(async () => {
    await until(() => inbox.calls[0].signal.aborted);
    return [inbox.calls.map(({ signal }) => signal.reason?.code), inbox.connections.map(({ connectionState }) => connectionState)];
  });
  assert.deepEqual(known, [["ended", undefined], ["closed", "connected"]]);
  await page.close();
});
