/** Compiles every block of docs/go.md, and runs those that are programs. */

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { program, startServer, stopServers } from "../e2e/server.js";
import { aimed, blocks, root, scratch, shell } from "./blocks.js";

const all = blocks("docs/go.md");
const [chat, hello, loop, rooms, invite, redeem, errors, embedded, commands] = all.map(({ code }) => code);
let server;

before(async () => {
  server = await startServer();
}, { timeout: 300_000 });
after(stopServers);

/** Builds a program in place of examples/chat, so that it is part of this module. @returns {Promise<string>} its file */
async function built(name, source) {
  const [file, overlay, binary] = [`${name}.go`, `${name}.json`, name].map((name) => join(scratch, name));
  writeFileSync(file, source);
  writeFileSync(overlay, JSON.stringify({ Replace: { [join(root, "examples/chat/main.go")]: file } }));
  await promisify(execFile)("go", ["build", "-overlay", overlay, "-o", binary, "./examples/chat"], { cwd: root });
  return binary;
}

test("these tests know all of its blocks", () => {
  assert.deepEqual(all.map(({ language, name }) => `${language} ${name}`.trim()), ["sh", "go hello.go", "go", "go rooms.go", "go codes.go", "go redeem.go", "go", "go server.go", "sh"]);
});

test("two people chat with the commands at the top", async () => {
  await promisify(execFile)("go", ["build", "-o", join(scratch, "talk"), "./examples/chat"], { cwd: root });
  const [alice, bob] = chat.trim().split("\n").map((line, i) => {
    const args = line.replace("go run ./examples/chat ", "").replaceAll(/alice|bob/g, (name) => `${name}-${process.pid}`).split(" ");
    const child = spawn(join(scratch, "talk"), ["-server", new URL("inbox", server.url).href, ...args], { stdio: ["pipe", "pipe", "inherit"] });
    if (i === 1) child.stdin.write("hello, Alice\n");
    return child;
  });
  const [heard] = await new Promise((resolve) => alice.stdout.once("data", (data) => resolve([String(data)])));
  assert.match(heard, /hello, Alice/);
  for (const child of [alice, bob]) child.stdin.end();
});

test("the program sends a message and receives it, more than once", async () => {
  const binary = await built("hello", aimed(hello, server));
  const runs = await Promise.all([1, 2].map(() => promisify(execFile)(binary)));
  assert.deepEqual(runs.map(({ stdout }) => stdout), ["hello, Bob\n", "hello, Bob\n"]);
});

test("the fragments compile", async () => {
  await built("fragments", `
    package main
    import ("context"; "errors"; "fmt"; "log"; "${/"(\S+)\/client"/.exec(hello)[1]}"; "${/"(\S+\/client)"/.exec(hello)[1]}")
    func handle(inbox.Message) {}
    func greet(peer string) {}
    func meet(ctx context.Context, c *client.Client, secret string) error {
      ${rooms}
      return nil
    }
    func invite(ctx context.Context, c *client.Client) error {
      ${invite}
      return nil
    }
    func redeem(ctx context.Context, c *client.Client, typed string) error {
      ${redeem}
    }
    func receive(ctx context.Context, c *client.Client) {
      ${loop}
    }
    func send(ctx context.Context, c *client.Client, to string, body []byte) error {
      ${errors}
      return nil
    }
    func main() { receive(nil, nil); meet(nil, nil, ""); send(nil, nil, "", nil); invite(nil, nil); redeem(nil, nil, "") }
  `);
});

test("the embedded server serves inboxes", async () => {
  const binary = await built("server", embedded
    .replace(`log.Fatal(http.ListenAndServe("localhost:3000", nil))`, `l, err := net.Listen("tcp", "127.0.0.1:0"); fmt.Println(l.Addr(), err); log.Fatal(http.Serve(l, nil))`)
    .replace(`"log"`, `"fmt"; "log"; "net"`));
  const child = spawn(binary, { stdio: ["ignore", "pipe", "inherit"] });
  try {
    const [address] = String(await new Promise((resolve) => child.stdout.once("data", resolve))).split(" ");
    const answer = await fetch(`http://${address}/inbox?wait=0`, { headers: { Authorization: `Basic ${btoa("bob:secret")}` } });
    assert.equal(answer.status, 204);
  } finally {
    child.kill();
  }
});

test("the commands deliver a message through a shell", async () => {
  const code = commands.replaceAll("go run ./cmd/inbox", program());
  assert.notEqual(code, commands);
  const { stdout } = await shell(code, { env: { ...process.env, INBOX_SERVER: new URL("inbox", server.url).href } });
  assert.equal(stdout, "hello\n");
});
