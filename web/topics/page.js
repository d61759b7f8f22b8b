/** Runs in the browser: a document of y-webrtc, and a room of Trystero. */

import { createTopicStrategy } from "@trystero-p2p/core";
import { topics } from "../dist/trystero.js";

// y-webrtc would connect the documents of one browser over this instead of WebRTC.
window.BroadcastChannel = class {
  postMessage() {}
};

const documents = [];
let instances = 0;

/** Joins a room of y-webrtc with a document that holds one entry, its own name. */
window.openDocument = async (name, room, options) => {
  const { open } = await import(`/document.js?${instances++}`);
  documents.push(open(name, room, options));
};

/** Returns the names in a document, sorted; of several, those of the first that lacks some. */
window.names = () => documents.map((one) => one.names()).sort((a, b) => a.length - b.length)[0];

/** Reports whether the connections to the server are open. */
window.connected = () => documents.every((one) => one.connected());

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
  const joined = joinRoom({ appId: "inbox-test", rtcConfig: { iceServers: [] } }, room);
  const hello = joined.makeAction("hello");
  hello.onMessage = (other) => void heard.add(other);
  joined.onPeerJoin = (id) => void hello.send(name, { target: id });
  window.room = { joined, heard };
};

window.heard = () => [...window.room.heard].sort().join(" ");
window.others = () => Object.keys(window.room.joined.getPeers()).length;
window.leave = () => window.room.joined.leave();
