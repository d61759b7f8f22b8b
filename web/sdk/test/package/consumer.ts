/** A program of a user. The tests compile it in several ways and run it against a server. */

import { CallError, Inbox, connect, randomId, randomPassword } from "@inbox/sdk";
import { createCode, redeemCode } from "@inbox/sdk/codes";
import { Inbox as Former } from "@inbox/sdk/mailbox";
import { Inbox as Messaging, type Message } from "@inbox/sdk/messaging";

declare const process: { argv: string[] };
const url = process.argv[2]!;

const alice = new Inbox(url, { id: randomId(), password: randomPassword() });
const bob = new Messaging(url, { id: randomId(), password: randomPassword() });
const carol = new Former(url, { id: randomId(), password: randomPassword() });

async function first(inbox: Messaging): Promise<Message | undefined> {
  for await (const message of inbox.messages()) return message;
  return undefined;
}

const received = Promise.all([first(bob), first(carol)]);
await alice.send(bob.id, { hello: "Bob" }, { wait: 10_000 });
await alice.send(carol.id, "hello", { wait: 10_000 });
for (const message of await received) console.log(message?.from === alice.id, message?.text);

// A code of an inbox of one entry point is redeemed by one of another.
const { code, validFor } = await createCode(bob, { room: "standup" });
const { id, room } = await redeemCode(alice, code.toLowerCase());
console.log(id === bob.id && room === "standup", validFor > 0);

// Node has no WebRTC, which is an error like any other.
await connect(alice, bob.id).catch((error: unknown) => console.log(error instanceof CallError && error.code));
await Promise.all([alice.close(), bob.close(), carol.close()]);
