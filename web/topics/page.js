/** Runs in the browser: a document of y-webrtc, and a room of Trystero. */

import { createTopicStrategy } from "@trystero-p2p/core";
import { topics } from "../dist/trystero.js";

const { BroadcastChannel } = window;
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

/** Returns how many connections the documents have to each other. */
window.links = () => documents.reduce((sum, one) => sum + one.links(), 0);

/** Reports whether the documents have announced themselves. */
window.announced = () => documents.every((one) => one.announced());

/** A strategy of Trystero without a server, for pages that share their storage. */
const noServer = () => {
  const listeners = new Map();
  const channel = new BroadcastChannel("topics");
  channel.onmessage = ({ data: [topic, payload] }) => listeners.get(topic)?.(topic, payload);
  return {
    init: () => channel,
    subscribeTopic: (_, topic, onMessage) => {
      listeners.set(topic, onMessage);
      return () => listeners.delete(topic);
    },
    publishTopic: (_, topic, payload) => channel.postMessage([topic, payload]),
  };
};

let joinRoom;
const announced = { last: () => {}, held: false, received: 0 };

/** Joins a room of Trystero, and says hello to each peer. Without a URL it does so without a server. */
window.join = (name, room, url) => {
  const heard = new Set();
  const failed = [];
  if (!joinRoom) {
    const strategy = url ? topics(url) : noServer();
    const relays = strategy.init();
    joinRoom = createTopicStrategy({
      ...strategy,
      init: () => relays,
      subscribeTopic: (relay, topic, onMessage, { kind }) => strategy.subscribeTopic(relay, topic, async (...given) => {
        await onMessage(...given);
        if (kind === "root") announced.received++;
      }),
      publishTopic: (relay, topic, payload, { kind }) => {
        const publish = () => strategy.publishTopic(relay, topic, payload);
        if (kind === "announce") announced.last = publish;
        if (kind !== "announce" || !announced.held) publish();
      },
    });
    window.cut = () => relays.forEach((relay) => relay.socket.close());
  }
  const joined = joinRoom({ appId: "inbox-test", rtcConfig: { iceServers: [] } }, room, {
    onJoinError: ({ error }) => void failed.push(error),
  });
  const hello = joined.makeAction("hello");
  hello.onMessage = (other) => void heard.add(other);
  joined.onPeerJoin = (id) => void hello.send(name, { target: id });
  window.room = { joined, heard, failed };
};

window.heard = () => [...window.room.heard].sort().join(" ");
window.others = () => Object.keys(window.room.joined.getPeers()).length;
window.failed = () => window.room.failed.join();

/** Returns how many announcements of others Trystero has handled. */
window.announcements = () => announced.received;

/** Leaves the room, without an announcement on its way. */
window.leave = async () => {
  announced.held = true;
  await window.room.joined.leave();
  announced.held = false;
};

/** Begins to leave the room. The room waits for endLeaving. */
window.beginLeaving = () => {
  const { setTimeout } = window;
  announced.held = true;
  window.setTimeout = (act, ms) => (ms === 99 ? void (window.endLeaving = act) : setTimeout(act, ms));
  const left = window.room.joined.leave();
  window.left = left.then(() => {
    window.setTimeout = setTimeout;
    announced.held = false;
  });
};

/** Announces itself once more, as Trystero does now and then. */
window.announce = () => announced.last();
