/** A proxy with the faults of real ones: it can refuse WebSockets and buffer streams. */

import { createServer, request as ask } from "node:http";
import { once } from "node:events";
import { connect } from "node:net";

const running = new Set();

export async function stopProxies() {
  for (const server of running) {
    server.closeAllConnections();
    server.close();
  }
  running.clear();
}

/**
 * @param {string} target the URL of an inbox
 * @param {{refuseUpgrade?: boolean, mute?: boolean, buffer?: boolean}} habits mute: nothing gets
 *   through an upgraded connection
 */
export async function startProxy(target, habits) {
  const { hostname, port } = new URL(target);
  const seen = { upgrades: 0, streams: 0, polls: 0, posts: 0 };
  const server = createServer((request, response) => {
    const isStream = request.headers.accept === "text/event-stream";
    if (request.method === "POST") seen.posts++;
    else if (isStream) seen.streams++;
    else if (request.method === "GET") seen.polls++;
    const outgoing = ask({ hostname, port, method: request.method, path: request.url, headers: request.headers }, (answer) => {
      if (!(habits.buffer && isStream)) {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
        return;
      }
      // It waits for the whole response, which for a stream never ends.
      const chunks = [];
      answer.on("data", (chunk) => chunks.push(chunk));
      answer.on("end", () => {
        response.writeHead(answer.statusCode, answer.headers);
        response.end(Buffer.concat(chunks));
      });
    });
    outgoing.on("error", () => response.destroy());
    response.on("close", () => outgoing.destroy());
    request.pipe(outgoing);
  });
  server.on("upgrade", (request, socket, head) => {
    seen.upgrades++;
    socket.on("error", () => {});
    if (habits.refuseUpgrade) {
      // It drops the Upgrade header, so the server answers a plain GET.
      socket.end("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
      return;
    }
    const outgoing = connect(Number(port), hostname, () => {
      const lines = [];
      for (let i = 0; i < request.rawHeaders.length; i += 2) lines.push(`${request.rawHeaders[i]}: ${request.rawHeaders[i + 1]}`);
      outgoing.write(`${request.method} ${request.url} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`);
      outgoing.write(head);
      outgoing.pipe(socket);
      if (!habits.mute) socket.pipe(outgoing);
    });
    outgoing.on("error", () => socket.destroy());
    socket.on("close", () => outgoing.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  running.add(server);
  return { url: `http://127.0.0.1:${server.address().port}/inbox`, seen };
}
