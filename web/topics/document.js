/**
 * A document of y-webrtc. The package keeps its rooms in variables of the module, so a page
 * with several peers imports this module once for each, with another query.
 */

import { WebrtcProvider } from "y-webrtc";
import * as Y from "yjs";

/** Joins a room with a document that holds one entry, its own name. */
export function open(name, room, options) {
  const doc = new Y.Doc();
  const peers = doc.getMap("peers");
  const provider = new WebrtcProvider(room, doc, { ...options, peerOpts: { config: { iceServers: [] } } });
  peers.set(name, 1);
  let announced = false;
  for (const conn of provider.signalingConns) conn.on("message", ({ type }) => (announced ||= type === "publish"));
  return {
    /** The names in the document, sorted. */
    names: () => [...peers.keys()].sort().join(" "),
    /** Whether the server has passed a publication on, of which the first is this document's announcement. */
    announced: () => announced,
    /** How many peers it is connected to. */
    links: () => [...(provider.room?.webrtcConns.values() ?? [])].filter((conn) => conn.connected).length,
  };
}
