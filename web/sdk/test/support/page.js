/** Helpers that run in pages, next to the SDK. */

const inboxes = [];
const connections = [];
globalThis.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(...given) {
    super(...given);
    connections.push(this);
  }
};

/** Ends everything that a test has left in this page. Cameras slow it down. */
globalThis.cleanUp = async () => {
  for (const pc of connections.splice(0)) {
    for (const { track } of pc.getSenders()) track?.stop();
    pc.close();
  }
  await Promise.allSettled(inboxes.splice(0).map((inbox) => inbox.close()));
};

/** Creates an inbox that records its transports and errors in `told`. */
globalThis.openInbox = (url, id, options = {}) => {
  const inbox = new Inbox(url, { id, password: "secret", ...options });
  inboxes.push(inbox);
  inbox.told = [];
  inbox.onopen = (transport) => inbox.told.push(transport);
  inbox.onaway = ({ code }) => inbox.told.push(code);
  return inbox;
};

/** Accepts all calls and echoes every message. Resolves when the inbox is open. */
globalThis.answerAll = (inbox, options = {}) => {
  inbox.calls = [];
  inbox.connections = [];
  inbox.failures = [];
  const setup = (pc) => {
    pc.ondatachannel = ({ channel }) => {
      channel.onmessage = ({ data }) => channel.send(`${inbox.id} heard ${data}`);
    };
  };
  void (async () => {
    for await (const call of accept(inbox, { setup, ...options })) {
      inbox.calls.push(call);
      call.accept().then((pc) => inbox.connections.push(pc), (error) => inbox.failures.push(error));
    }
  })().catch((error) => (inbox.error = error));
  return until(() => {
    if (inbox.error) throw inbox.error;
    return inbox.transport;
  });
};

/** Opens an inbox. */
globalThis.justOpen = async (inbox) => {
  const ends = new AbortController();
  const next = inbox.messages({ signal: ends.signal }).next();
  await until(() => inbox.transport);
  ends.abort();
  await next;
};

/** Waits for a condition in the page. The error of a timeout names it. */
globalThis.until = async (condition) => {
  for (const begun = performance.now(); performance.now() - begun < 25_000; ) {
    const value = await condition();
    if (value) return value;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  const states = connections.map((pc) => [pc.connectionState, pc.signalingState, pc.iceConnectionState, pc.iceGatheringState]);
  throw new Error(`never: ${condition}, with connections ${JSON.stringify(states)}`);
};

/** Sends a text over a connection and returns the answer. */
globalThis.talk = async (pc, text = "hello") => {
  const channel = pc.createDataChannel("talk");
  await new Promise((resolve) => (channel.onopen = resolve));
  channel.send(text);
  return new Promise((resolve) => (channel.onmessage = ({ data }) => resolve(data)));
};

/** Returns the fields of an error that programs read. */
globalThis.failure = async (promise) => {
  try {
    await promise;
  } catch (error) {
    const { name, code, reason, tried, message } = error;
    return { name, code, reason, tried, message, cause: error.cause?.code };
  }
  return undefined;
};

/** Returns the ICE ufrag, which changes with each restart. */
globalThis.ufrag = ({ localDescription: { sdp } }) => /ice-ufrag:(\S+)/.exec(sdp)[1];

/** Returns how many connections of this page are open. */
globalThis.liveConnections = () => connections.filter(({ connectionState }) => connectionState !== "closed").length;

/**
 * Answers one call as another implementation might: with these entries before each of
 * its candidates.
 */
globalThis.answerAsOther = async (inbox, before) => {
  const pc = new RTCPeerConnection();
  pc.ondatachannel = ({ channel }) => {
    channel.onmessage = ({ data }) => channel.send(`${inbox.id} heard ${data}`);
  };
  for await (const { from, data: { session, type, n, sdp, candidates } } of inbox.messages()) {
    if (type === "offer" && n === 1 && pc.signalingState === "stable" && !pc.remoteDescription) {
      await pc.setRemoteDescription({ type, sdp });
      const answer = await pc.createAnswer();
      await inbox.send(from, { session, type: "answer", n, sdp: answer.sdp });
      pc.onicecandidate = ({ candidate }) => {
        if (candidate?.candidate) void inbox.send(from, { session, type: "candidates", candidates: [...before, candidate.toJSON()] });
      };
      await pc.setLocalDescription(answer);
    }
    // It sends no candidates itself, so that only theirs make a path.
    void candidates;
  }
};

/** Asks for so many changes that the server refuses the offer, and returns what happened. */
globalThis.changeTooMuch = async (pc, errors) => {
  const added = Array.from({ length: 10 }, () => pc.addTransceiver("video"));
  await until(() => errors.length);
  await until(() => pc.signalingState === "stable");
  const told = { name: errors[0].name, code: errors[0].code, status: errors[0].status };
  // Chromium cannot continue with another kind of media once all of one kind were stopped.
  const shrink = () => added.splice(1).forEach((transceiver) => transceiver.stop());
  return { told, shrink, added };
};
