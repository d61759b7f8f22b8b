/**
 * The frames that inbox sends for every type of message to every kind of dst. With
 * INBOX_COMPARE the same is required of peerjs-server.
 */

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { WebSocket } from "ws";
import { stopAll, targets } from "./support.js";

after(stopAll);

/** A dst as JSON, and the src of the EXPIRE that follows, if the dst counts as one. */
const addresses = [
  ["1", "1"], ["123", "123"], ["-1", "-1"], ["1.50", "1.5"], ["1e21", "1e+21"], ["12345678901234567890", "12345678901234567000"],
  ["5e-324", "5e-324"], ["1e400", "null"], ["-1e400", "null"], ["1" + "0".repeat(1000), "null"],
  ["0"], ["-0"], ["0.00"], ["1e-400"], ["true", "true"], ["false"], ["null"], [undefined], ['""'],
  ['"nobody"', '"nobody"'], ['" "', '" "'], ['"0"', '"0"'], ['"\\ud800"', '"\\ud800"'],
  ["{}", "{}"], ["[]", "[]"], ['{"id":"bob"}', '{"id":"bob"}'], ['["bob"]', '["bob"]'], ['[[[1, {"a" : [null]}]]]', '[[[1,{"a":[null]}]]]'],
  [`"${"x".repeat(5000)}"`, `"${"x".repeat(5000)}"`], ["[".repeat(500) + "]".repeat(500), "[".repeat(500) + "]".repeat(500)],
];
const types = ["OFFER", "ANSWER", "CANDIDATE", "LEAVE", "EXPIRE", "HEARTBEAT", "OPEN", "offer", 1, null];

async function join(port, id, token = "x") {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/peerjs?key=peerjs&id=${encodeURIComponent(id)}&token=${token}`);
  const frames = [];
  socket.on("message", (data) => frames.push(String(data)));
  await once(socket, "message");
  return { id, socket, frames };
}

for (const name of ["inbox", "peerjs-server"]) {
  if (name === "peerjs-server" && !process.env.INBOX_COMPARE) continue;
  describe(name, () => {
    test("every type of message to every kind of dst", { timeout: 120_000 }, async () => {
      const [{ port }] = await targets[name].start({ more: ["--limits=off"] }); // wrong passwords are limited
      const strangers = await Promise.all(["1", "123", "true", "null", "bob", "[object Object]"].map((id) => join(port, id)));
      const all = await Promise.all(types.flatMap((type) => addresses.map(async ([dst, src], i) => {
        const peer = await join(port, `${type} ${i}`);
        peer.socket.send(`{"type":${JSON.stringify(type)}${dst === undefined ? "" : `,"dst":${dst}`},"payload":{}}`);
        const expires = ["OFFER", "ANSWER", "CANDIDATE"].includes(type) && src !== undefined;
        const frees = type === "LEAVE" && src === undefined;
        return { ...peer, frees, says: `${type} to ${dst}`.slice(0, 60), want: expires ? [`{"type":"EXPIRE","src":${src},"dst":"${peer.id}"}`] : [] };
      })));
      await sleep(7_000); // an EXPIRE that is not sent can only be waited for
      for (const { frames, want, says } of all) {
        assert.deepEqual(frames.slice(1).map((frame) => JSON.parse(frame)), want.map((frame) => JSON.parse(frame)), says);
      }
      for (const { frames } of strangers) assert.deepEqual(frames.slice(1), []);
      await Promise.all(all.map(async ({ id, frees, says }) => {
        const other = await join(port, id, "another");
        assert.equal(JSON.parse(other.frames[0]).type, frees ? "OPEN" : "ID-TAKEN", says);
        other.socket.terminate();
      }));
      for (const { socket } of [...all, ...strangers]) socket.terminate();
    });
  });
}
