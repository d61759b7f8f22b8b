/** A web server for the pages of documents, at localhost, where browsers give a camera. */

import { once } from "node:events";
import { createServer } from "node:http";

const TYPES = { html: "text/html", js: "text/javascript" };

/** @param {{[path: string]: string}} files */
export async function servePages(files) {
  const server = createServer((request, response) => {
    const path = request.url.slice(1).split("?")[0];
    const type = TYPES[path.split(".").at(-1)];
    if (!(path in files)) return void response.writeHead(path === "favicon.ico" ? 204 : 404).end();
    response.setHeader("Content-Type", `${type}; charset=utf-8`);
    response.end(files[path]);
  }).listen(0, "localhost");
  await once(server, "listening");
  return { url: `http://localhost:${server.address().port}/`, close: () => server.close() };
}

/** An empty page that runs a module. */
export const pageWith = (module, more = "") => `<!doctype html><meta charset="utf-8"><title>Test</title>${more}<script type="module">${module}</script>`;
