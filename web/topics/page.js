/** Runs in the browser: a document of y-webrtc, and a room of Trystero. */

import { createTopicStrategy } from "@trystero-p2p/core";
import { WebrtcProvider } from "y-webrtc";
import * as Y from "yjs";
import { topics } from "../dist/trystero.js";

const rtc = { iceServers: [] };

/** Joins a room with a document that holds one entry, its own name. */
window.openDocument = (name, room, signaling, password) => {
  const doc = new Y.Doc();
  const peers = doc.getMap("peers");
  const provider = new WebrtcProvider(room, doc, { signaling, password, maxConns: 100, peerOpts: { config: rtc } });
  peers.set(name, 1);
  window.documentOf = { peers, provider };
};

/** Returns the names in the document, sorted. */
window.names = () => [...window.documentOf.peers.keys()].sort().join(" ");

/** Reports whether the room's connection to the server is open. */
window.connected = () => window.documentOf.provider.signalingConns.every((conn) => conn.connected);

let joinRoom;

/** Joins a room of Trystero, and says hello to each peer. */
window.join = (name, room, url) => {
  const heard = new Set();
  if (!joinRoom) {
    const strategy = topics(url);
    const relays = strategy.init();
    joinRoom = createTopicStrategy({ ...strategy, init: () => relays });
    window.cut = () => relays.forEach((relay) => relay.socket.close());
  }
  const joined = joinRoom({ appId: "inbox-test", rtcConfig: rtc }, room);
  const hello = joined.makeAction("hello");
  hello.onMessage = (other) => void heard.add(other);
  joined.onPeerJoin = (id) => void hello.send(name, { target: id });
  window.room = { joined, heard };
};

window.heard = () => [...window.room.heard].sort().join(" ");
window.others = () => Object.keys(window.room.joined.getPeers()).length;
window.leave = () => window.room.joined.leave();
