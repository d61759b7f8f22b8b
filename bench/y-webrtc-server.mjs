// Runs y-webrtc's own signaling server on a free port, and prints its URL. The first
// argument is its module.
import { once } from "node:events";
import { createServer } from "node:net";
import { pathToFileURL } from "node:url";

const probe = createServer().listen(0); // on all addresses, as the server will
await once(probe, "listening");
const { port } = probe.address();
probe.close();
await once(probe, "close");
process.env.PORT = String(port);
await import(pathToFileURL(process.argv[2]));
for (;;) {
  try {
    await fetch(`http://127.0.0.1:${port}/`);
    break;
  } catch {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
console.error(`url=http://127.0.0.1:${port}/`);
