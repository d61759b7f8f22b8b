/** The real server, as the tests of the pages start it. Here its URL is that of the inbox. */

import { startServer as start, stopServers } from "../../../e2e/server.js";

export { stopServers };

/**
 * Starts a server and waits until it listens.
 * @param {string[]} flags
 * @param {number} port a free one by default
 */
export async function startServer(flags = [], port = 0) {
  const server = await start(flags, { port });
  return { ...server, url: new URL("inbox", server.url).href };
}
