/** Codes of six letters, in Node, against the real server. */

import assert from "node:assert/strict";
import { afterEach } from "node:test";
import { createCode, redeemCode } from "../../dist/codes.js";
import { Inbox } from "../../dist/inbox.js";
import { Inbox as Messaging } from "../../dist/messaging.js";
import { join } from "../../dist/rooms.js";
import { startServer, stopServers } from "../support/server.js";
import { test } from "../support/test.js";

const inboxes = [];
afterEach(async () => {
  await Promise.allSettled(inboxes.splice(0).map((inbox) => inbox.close()));
  await stopServers();
});

function open(url, id, Class = Inbox) {
  const inbox = new Class(url, { id, password: "secret", transports: ["poll"] });
  inboxes.push(inbox);
  return inbox;
}

for (const [name, Class] of [["inbox.js", Inbox], ["messaging.js", Messaging]]) {
  test(`${name}: a code leads to its inbox, once`, async () => {
    const { url } = await startServer();
    const { code, validFor } = await createCode(open(url, "Zoë とり", Class));
    assert.match(code, /^[A-Z]{6}$/);
    assert.equal(validFor, 600_000);
    const bob = open(url, "bob", Class);
    assert.deepEqual(await redeemCode(bob, ` ${code.slice(0, 3).toLowerCase()}-${code.slice(3)}.`), { id: "Zoë とり" });
    await bob.send("Zoë とり", "hello"); // creating the code has opened the inbox
    await assert.rejects(redeemCode(bob, code), { name: "InboxError", code: "no-such-code", status: 404 });
  });
}

test("a code leads to a room with a secret, which joins without the secret", async () => {
  const { url } = await startServer();
  const alice = open(url, "alice");
  const room = await join(alice, "standup", { secret: "correct horse", connect: false });
  const { code } = await createCode(alice, { room: room.id });
  const bob = open(url, "bob");
  const invitation = await redeemCode(bob, code);
  assert.deepEqual(invitation, { id: "alice", room: room.id });
  assert.deepEqual((await join(bob, invitation.room, { connect: false })).members, ["alice", "bob"]);
});

test("wrong codes are refused, and the fourth one has to wait", async () => {
  const { url } = await startServer();
  const alice = open(url, "alice");
  for (const typed of ["", "kxt rb", "kxt rbmm", "kxt rbq", "x".repeat(1000)]) {
    await assert.rejects(redeemCode(alice, typed), { code: "bad-request", status: 400 });
  }
  for (let tries = 0; tries < 3; tries++) await assert.rejects(redeemCode(alice, "AAAAAA"), { code: "no-such-code" });
  await assert.rejects(redeemCode(alice, "AAAAAA"), (error) => error.code === "rate-limited" && error.retryAfter > 0 && error.retryAfter <= 20_000);
  await assert.rejects(createCode(alice, { room: "a:b" }), { code: "bad-request" });
  await createCode(alice);
  await assert.rejects(createCode(new Inbox(url, { id: "alice", password: "wrong" })), { code: "unauthorized" });
});
