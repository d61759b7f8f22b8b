/** Codes of six letters, over a fake network, with the inboxes of each entry point as they are shipped. */

import assert from "node:assert/strict";
import { createCode, redeemCode } from "../../dist/codes.js";
import { Inbox } from "../../dist/inbox.js";
import { Inbox as Messaging } from "../../dist/messaging.js";
import { advance, fakeNet, settle } from "../support/net.js";
import { test } from "../support/test.js";

const JSON_TYPE = { "Content-Type": "application/json" };
const open = (Class = Inbox, id = "alice") => new Class("https://host/base/inbox", { id, password: "secret" });

for (const [name, Class] of [["inbox.js", Inbox], ["messaging.js", Messaging]]) {
  test(`${name}: a code is created for the inbox, and for a room`, async (t) => {
    const net = fakeNet(t);
    for (const [room, query] of [[undefined, { code: "" }], ["a b", { code: "", room: "a b" }]]) {
      const created = createCode(open(Class), { room });
      const request = await net.request("post");
      assert.deepEqual([request.url.pathname, request.query, request.body], ["/base/inbox", query, undefined]);
      assert.equal(request.headers.get("Authorization"), `Basic ${btoa("alice:secret")}`);
      await request.answer(200, JSON_TYPE, '{"code":"KXTRBM","seconds":600}');
      assert.deepEqual(await created, { code: "KXTRBM", validFor: 600_000 });
    }
  });

  test(`${name}: a code is redeemed as a person types it`, async (t) => {
    const net = fakeNet(t);
    for (const [typed, sent] of [["kxt rbm", "kxtrbm"], [" KXT-RBM. ", "KXTRBM"], ["k x t\u00a0r\u2013b, m\n", "kxtrbm"], ["x".repeat(10_000), "xxxxxxx"], ["😀".repeat(99), "😀".repeat(7)]]) {
      const redeemed = redeemCode(open(Class), typed);
      const request = await net.request("post");
      assert.deepEqual([request.url.pathname, request.query, request.body], ["/base/code", {}, sent]);
      await request.answer(200, JSON_TYPE, '{"id":"bob","room":"standup"}');
      assert.deepEqual(await redeemed, { id: "bob", room: "standup" });
    }
    const redeemed = redeemCode(open(Class), "KXTRBM");
    await (await net.request("post")).answer(200, JSON_TYPE, '{"id":"bob"}');
    assert.equal((await redeemed).room, undefined);
  });
}

test("errors are those of the server, with the time to wait", async (t) => {
  const net = fakeNet(t);
  for (const [status, code, headers, retryAfter] of [
    [404, "no-such-code", {}, undefined],
    [400, "bad-request", {}, undefined],
    [429, "rate-limited", { "Retry-After": "20" }, 20_000],
    [503, "server-full", { "Retry-After": "1" }, 1000],
  ]) {
    for (const make of [() => createCode(open()), () => redeemCode(open(), "KXTRBM")]) {
      const failed = assert.rejects(make(), { name: "InboxError", code, status, retryAfter });
      await (await net.request("post")).problem(status, code, headers);
      await failed;
    }
  }
});

test("nothing is repeated: a lost answer, a slow server, and another server", async (t) => {
  const net = fakeNet(t);
  const lost = assert.rejects(redeemCode(open(), "KXTRBM"), { name: "InboxError", code: "unreachable" });
  await (await net.request("post")).fail();
  await lost;
  const slow = assert.rejects(createCode(open()), { name: "InboxError", code: "timeout" });
  await net.request("post");
  await advance(10_000, 1000);
  await slow;
  for (const headers of [{ "Content-Type": "text/html" }, {}]) {
    const other = assert.rejects(redeemCode(open(), "KXTRBM"), { name: "InboxError", code: "not-inbox" });
    await (await net.request("post")).answer(200, headers, "<p>Log in");
    await other;
  }
  assert.equal(await net.open("post"), 0);
});

test("an aborted request rejects with the reason of the signal", async (t) => {
  const net = fakeNet(t);
  const ends = new AbortController();
  const created = assert.rejects(createCode(open(), { signal: ends.signal }), /enough/);
  const redeemed = assert.rejects(redeemCode(open(), "KXTRBM", { signal: ends.signal }), /enough/);
  await net.request("post");
  await net.request("post");
  ends.abort(new Error("enough"));
  await Promise.all([created, redeemed]);
});

test("a new inbox object creates its code after a former one with the same id is closed", async (t) => {
  const net = fakeNet(t);
  const former = open();
  const closed = former.close();
  const created = createCode(open());
  const closing = await net.request("DELETE");
  assert.equal(await net.open("post"), 0);
  await closing.answer(204);
  await closed;
  await settle();
  await (await net.request("post")).answer(200, JSON_TYPE, '{"code":"KXTRBM","seconds":600}');
  assert.equal((await created).code, "KXTRBM");
});
