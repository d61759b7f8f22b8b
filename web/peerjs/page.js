/** Runs in pages with the PeerJS client, and does what a test asks for. */

globalThis.peers = {};

/** Makes a Peer and records its events. */
globalThis.make = (name, id, options) => {
  const peer = id === undefined ? new Peer(options) : new Peer(id, options);
  peers[name] = peer;
  peer.told = [];
  peer.heard = [];
  peer.links = [];
  for (const event of ["open", "close", "disconnected", "error"]) {
    peer.on(event, (value) => peer.told.push(event === "error" ? value.type : event));
  }
  peer.on("connection", (link) => follow(peer, link));
  peer.on("call", (call) => {
    call.on("stream", (stream) => (peer.stream = stream));
    void camera().then((stream) => call.answer(stream));
  });
};

/** Records the messages of a data connection, and answers greetings. */
function follow(peer, link) {
  peer.links.push(link);
  link.on("data", (data) => {
    peer.heard.push(data);
    if (typeof data === "string" && data.startsWith("hello from ")) link.send(`${peer.id} heard ${data}`);
  });
}

globalThis.connect = (name, to, options) => {
  const link = peers[name].connect(to, options);
  follow(peers[name], link);
  link.on("open", () => link.send(`hello from ${peers[name].id}`));
};

const camera = () => navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 160, height: 120 } });

globalThis.call = async (name, to) => {
  peers[name].call(to, await camera()).on("stream", (stream) => (peers[name].stream = stream));
};

/** Resolves when the video of a stream plays. */
globalThis.sees = async (name) => {
  await until(() => peers[name].stream);
  const video = document.body.appendChild(document.createElement("video"));
  video.muted = true;
  video.srcObject = peers[name].stream;
  await video.play();
  await until(() => video.videoWidth > 0 && video.getVideoPlaybackQuality().totalVideoFrames > 2);
  video.remove();
};

globalThis.until = async (condition) => {
  for (;;) {
    const value = await condition();
    if (value) return value;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
};

/** Destroys the peers that a test has left open. */
globalThis.cleanUp = () => {
  for (const peer of Object.values(peers)) {
    for (const track of peer.stream?.getTracks() ?? []) track.stop();
    peer.destroy();
  }
  peers = {};
};
