// Runs peerjs-server on a free port without its default limit of clients, and prints its
// URL. The first argument is its module.
import { createRequire } from "node:module";

const { PeerServer } = createRequire(import.meta.url)(process.argv[2]);
PeerServer({ host: "127.0.0.1", port: 0, path: "/", concurrent_limit: 1_000_000 }, (server) => {
  console.error(`url=http://127.0.0.1:${server.address().port}/`);
});
