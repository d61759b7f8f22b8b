// Runs y-webrtc's own signaling server on a free port, and prints its URL. The first
// argument is its module.
import { Server } from "node:net";
import { pathToFileURL } from "node:url";

const { listen } = Server.prototype;
Server.prototype.listen = function (...given) {
  this.once("listening", () => console.error(`url=http://127.0.0.1:${this.address().port}/`));
  return listen.apply(this, given);
};
process.env.PORT = "0";
await import(pathToFileURL(process.argv[2]));
