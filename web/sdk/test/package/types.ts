/** Uses every exported name. The tests compile it under the strictest settings and do not run it. */

import { CallError, Inbox, InboxError, accept, connect, randomId, randomPassword } from "@inbox/sdk";
import type { Call, CallErrorCode, Connection, InboxErrorCode, Message, SendOptions, Transport, Tried } from "@inbox/sdk";
import { createCode, redeemCode, type Code, type CodeOptions, type Invitation } from "@inbox/sdk/codes";
import type { Inbox as Former } from "@inbox/sdk/mailbox";
import { Inbox as Messaging } from "@inbox/sdk/messaging";
import { join, type PeerChange, type Room } from "@inbox/sdk/rooms";
import { topics, type TopicStrategy } from "@inbox/sdk/trystero";

const signal = new AbortController().signal;
const maybe: AbortSignal | undefined = Math.random() < 0.5 ? signal : undefined;
const inbox = new Inbox("https://host/inbox", { id: randomId(), password: randomPassword(), storage: sessionStorage });
const messaging = new Messaging(new URL("https://host/inbox"), { id: "a", password: "b", transports: ["poll"], storage: undefined });

inbox.onopen = (transport: Transport) => console.log(transport);
inbox.onaway = ({ code, status, retryAfter, passes }) => console.log(code, status, retryAfter, passes);
inbox.onopen = undefined;

const options: SendOptions = { signal: maybe, wait: 5, last: true };
await inbox.send("bob", { type: "offer" }, options);
await (messaging satisfies Former).send("bob", new Uint8Array(5));

for await (const message of inbox.messages({ signal: maybe, match: ({ from }) => from === "bob", onreset: () => {} })) {
  const { from, text, bytes, data, time, cursor }: Message = message;
  const all: [string, string | undefined, Uint8Array, unknown, Date, string] = [from, text, bytes, data, time, cursor];
  console.log(all);
}

try {
  const pc: Connection = await connect(inbox, "bob", {
    signal: maybe,
    timeout: 5,
    wait: 5,
    iceServers: async () => [{ urls: "stun:example.com" }],
    configuration: { iceTransportPolicy: "relay" },
    async setup(pc) {
      pc.createDataChannel("x");
    },
  });
  const plain: RTCPeerConnection = pc;
  plain.close();
  const { code, reason, cause } = await pc.ended;
  console.log(code === "ice-failed", reason, cause);
} catch (error) {
  if (error instanceof CallError) {
    const code: CallErrorCode = error.code;
    const tried: Tried = error.tried;
    console.log(code, tried.local, error.reason);
  } else if (error instanceof InboxError) {
    const code: InboxErrorCode = error.code;
    console.log(code === "replaced");
  }
}

for await (const call of accept(inbox, { iceServers: [] })) {
  const { from, signal }: Call = call;
  console.log(from, signal.aborted);
  if (from === "bob") void call.accept({ timeout: 5 }).then(({ ended }: Connection) => ended);
  else call.reject("busy");
}

const room: Room = await join(inbox, "standup", {
  secret: undefined,
  signal: maybe,
  iceServers: [],
  timeout: 5,
  setup: (pc, peer) => void pc.createDataChannel(peer),
});
for await (const change of room.peers()) {
  const { peer, state, pc }: PeerChange = change;
  if (change.state === "failed") console.log(change.error.code);
  if (state === "connected") pc satisfies Connection;
  console.log(peer, room.members.includes(peer));
}
await room.send({ hello: room.id }, options);
await room.leave();

const toRoom: CodeOptions = { room: room.id, signal: maybe };
const { code, validFor }: Code = await createCode(inbox, toRoom);
console.log(code, validFor, await createCode(messaging));
const invitation: Invitation = await redeemCode(inbox, code, { signal: maybe });
await join(inbox, invitation.room ?? invitation.id);
const strategy: TopicStrategy = topics("wss://host/trystero", "wss://other/trystero");
console.log(strategy.init().map(({ socket }) => socket?.readyState));
await inbox.close({ signal });

// @ts-expect-error id is required
new Inbox("/inbox", { password: "x" });
// @ts-expect-error a code belongs to an inbox
createCode("alice");
// @ts-expect-error pigeon is not a transport
new Inbox("/inbox", { id: "x", password: "x", transports: ["pigeon"] });
// @ts-expect-error nonsense is not an error code
new InboxError("nonsense").code === "nonsense";
// @ts-expect-error the declarations leave out internals
inbox.receiver;
// @ts-expect-error the declarations leave out internals
inbox.onroom;
