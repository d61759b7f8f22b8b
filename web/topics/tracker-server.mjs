// Runs bittorrent-tracker's own server, for WebSockets only, on the given port.
import Server from "bittorrent-tracker/server";

new Server({ udp: false, http: false, stats: false, peersCacheLength: 100_000 }).listen(Number(process.argv[2] ?? 0), "127.0.0.1", function () {
  console.error(`url=http://127.0.0.1:${this.http.address().port}/`);
});
