/**
 * The connection to one peer: WebRTC with perfect negotiation
 * (https://www.w3.org/TR/webrtc/#perfect-negotiation-example), whose offers,
 * answers and candidates travel through send() and receive().
 */

/** A network hiccup often mends itself within this; a restart of ICE costs more. */
const HICCUP = 4000;
/** Restarts of ICE before a connection counts as failed: one that worked once is worth more. */
const RESTARTS = { before: 1, after: 2 };
/** Bounds on what a stranger can make us keep. */
const MOST_CANDIDATES = 200;
const MOST_TEXT = 16_384;

/**
 * @typedef {{type: "description", description: RTCSessionDescriptionInit}
 *   | {type: "candidates", candidates: RTCIceCandidateInit[]}} Signal
 *
 * @typedef {object} Path
 * @property {"host" | "srflx" | "prflx" | "relay"} kind the farther of both ends
 * @property {string} local the type of our candidate
 * @property {string} remote the type of theirs
 * @property {string} protocol udp or tcp
 *
 * @typedef {object} Events
 * @property {(step: "offer-sent" | "offer-received" | "answer-sent" | "answer-received") => void} onstep
 * @property {(state: "connecting" | "connected" | "reconnecting" | "failed") => void} onstate
 * @property {(stream: MediaStream) => void} onstream called again for each track that arrives
 * @property {(open: boolean) => void} onchannel
 * @property {(data: unknown) => void} ondata an object from the other side, unchecked
 */

/** A connection to one peer. Nothing happens before start() or receive(). */
export class Connection {
  /** @type {RTCPeerConnection | undefined} */
  #pc;
  /** @type {RTCDataChannel | undefined} */
  #channel;
  #initiates;
  #iceServers;
  #stream;
  #send;
  #events;
  #remote = new MediaStream();
  #closed = false;

  #makingOffer = false;
  #ignoringOffer = false;
  #settingAnswer = false;
  /** @type {RTCIceCandidateInit[]} theirs, that came before their description */
  #early = [];
  /** @type {RTCIceCandidateInit[]} ours, that wait for the send before them */
  #gathered = [];
  #sendingCandidates = false;

  #restarts = 0;
  #worked = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #hiccup;

  /**
   * @param {object} options
   * @param {boolean} options.initiates whether this side makes the first offer; the other one is the polite one
   * @param {MediaStream} options.stream what to send; can be empty
   * @param {RTCIceServer[]} options.iceServers
   * @param {(signal: Signal) => Promise<void>} options.send
   * @param {Events} options.events
   */
  constructor({ initiates, stream, iceServers, send, events }) {
    this.#initiates = initiates;
    this.#stream = stream;
    this.#iceServers = iceServers;
    this.#send = send;
    this.#events = events;
  }

  /** Makes the first offer. */
  start() {
    const pc = this.#open();
    // Both kinds are always offered, so that a camera that is found later needs no new section.
    for (const kind of ["audio", "video"]) {
      const track = this.#stream.getTracks().find((track) => track.kind === kind);
      pc.addTransceiver(track ?? kind, {
        direction: track ? "sendrecv" : "recvonly",
        streams: [this.#stream],
      });
    }
    this.#openChannel(pc);
  }

  /**
   * Takes what the other side's send() gave. To be called for one signal after the other.
   * @param {Signal} signal checked for its form by readSignal
   */
  async receive(signal) {
    if (this.#closed) return;
    if (signal.type === "candidates") {
      for (const candidate of signal.candidates) await this.#addCandidate(candidate);
    } else {
      await this.#receiveDescription(signal.description);
    }
  }

  /**
   * Sends an object to the other side, directly.
   * @param {unknown} data
   * @returns {boolean} whether it could be sent
   */
  say(data) {
    if (this.#channel?.readyState !== "open") return false;
    this.#channel.send(JSON.stringify(data));
    return true;
  }

  /**
   * Sends the tracks of another stream from now on; what it lacks is sent no more.
   * @param {MediaStream} stream
   */
  async replaceStream(stream) {
    this.#stream = stream;
    for (const transceiver of this.#pc?.getTransceivers() ?? []) {
      const track = stream.getTracks().find((track) => track.kind === transceiver.receiver.track.kind);
      await transceiver.sender.replaceTrack(track ?? null);
      transceiver.direction = track ? "sendrecv" : "recvonly";
    }
  }

  /**
   * How the two are connected, once they are.
   * @returns {Promise<Path | undefined>}
   */
  async path() {
    if (this.#pc === undefined) return undefined;
    /** @type {Map<string, any>} */
    const stats = new Map(/** @type {any} */ (await this.#pc.getStats()));
    const all = [...stats.values()];
    const transport = all.find((one) => one.type === "transport" && one.selectedCandidatePairId);
    const pair = transport
      ? stats.get(transport.selectedCandidatePairId)
      : all.find((one) => one.type === "candidate-pair" && (one.selected || (one.nominated && one.state === "succeeded")));
    const local = stats.get(pair?.localCandidateId);
    const remote = stats.get(pair?.remoteCandidateId);
    if (local === undefined || remote === undefined) return undefined;
    const types = [local.candidateType, remote.candidateType];
    const kind = /** @type {const} */ (["relay", "srflx", "prflx", "host"]).find((kind) => types.includes(kind));
    return { kind: kind ?? "host", local: types[0], remote: types[1], protocol: local.protocol };
  }

  /**
   * Ends the connection.
   * @param {unknown} [last] said to the other side before
   */
  close(last) {
    if (this.#closed) return;
    const said = last !== undefined && this.say(last);
    this.#closed = true;
    clearTimeout(this.#hiccup);
    const pc = this.#pc;
    if (pc === undefined) return;
    for (const sender of pc.getSenders()) sender.replaceTrack(null).catch(() => {});
    // close() drops what the channel still holds.
    if (said) setTimeout(() => pc.close(), 250);
    else pc.close();
  }

  #open() {
    const pc = new RTCPeerConnection({ iceServers: this.#iceServers });
    this.#pc = pc;
    pc.onnegotiationneeded = () => this.#offer(pc);
    pc.onicecandidate = ({ candidate }) => {
      if (candidate === null || this.#closed) return;
      this.#gathered.push(candidate.toJSON());
      this.#sendCandidates();
    };
    pc.ontrack = ({ track }) => {
      if (this.#closed) return;
      this.#remote.addTrack(track);
      this.#events.onstream(this.#remote);
    };
    pc.onconnectionstatechange = () => this.#connectionChanged(pc);
    return pc;
  }

  /** @param {RTCPeerConnection} pc */
  #openChannel(pc) {
    const channel = pc.createDataChannel("chat", { negotiated: true, id: 0 });
    this.#channel = channel;
    channel.onopen = () => this.#events.onchannel(true);
    channel.onclose = () => {
      if (!this.#closed) this.#events.onchannel(false);
    };
    channel.onmessage = ({ data }) => {
      if (this.#closed || typeof data !== "string" || data.length > MOST_TEXT) return;
      let read;
      try {
        read = JSON.parse(data);
      } catch {
        return;
      }
      this.#events.ondata(read);
    };
  }

  /** @param {RTCPeerConnection} pc */
  async #offer(pc) {
    if (this.#closed) return;
    try {
      this.#makingOffer = true;
      await pc.setLocalDescription();
      this.#sendDescription(pc);
    } catch (error) {
      if (!this.#closed) console.warn("no offer could be made", error);
    } finally {
      this.#makingOffer = false;
    }
  }

  /** @param {RTCSessionDescriptionInit} description */
  async #receiveDescription(description) {
    const pc = this.#pc ?? this.#open();
    const ready = !this.#makingOffer && (pc.signalingState === "stable" || this.#settingAnswer);
    const collides = description.type === "offer" && !ready;
    this.#ignoringOffer = this.#initiates && collides;
    if (this.#ignoringOffer) return;
    this.#events.onstep(description.type === "offer" ? "offer-received" : "answer-received");

    this.#settingAnswer = description.type === "answer";
    try {
      await pc.setRemoteDescription(description);
    } finally {
      this.#settingAnswer = false;
    }
    for (const candidate of this.#early.splice(0)) await this.#addCandidate(candidate);
    if (description.type !== "offer" || this.#closed) return;

    if (this.#channel === undefined) {
      // Only now, so that these take the sections of the offer and no second offer is needed.
      for (const track of this.#stream.getTracks()) pc.addTrack(track, this.#stream);
      this.#openChannel(pc);
    }
    await pc.setLocalDescription();
    this.#sendDescription(pc);
  }

  /** @param {RTCIceCandidateInit} candidate */
  async #addCandidate(candidate) {
    const pc = this.#pc;
    if (pc === undefined || pc.remoteDescription === null) {
      if (this.#early.length < MOST_CANDIDATES) this.#early.push(candidate);
      return;
    }
    try {
      await pc.addIceCandidate(candidate);
    } catch (error) {
      // One bad candidate among many is no reason to end a call.
      if (!this.#ignoringOffer && !this.#closed) console.warn("a candidate was not understood", error);
    }
  }

  /** @param {RTCPeerConnection} pc */
  #sendDescription(pc) {
    const description = pc.localDescription;
    if (description === null || this.#closed) return;
    const { type, sdp } = description;
    const step = type === "offer" ? "offer-sent" : "answer-sent";
    this.#send({ type: "description", description: { type, sdp } }).then(
      () => this.#closed || this.#events.onstep(step),
      () => {}, // whoever gave us send() knows
    );
  }

  /** Sends what was gathered while the send before was under way in one message. */
  async #sendCandidates() {
    if (this.#sendingCandidates) return;
    this.#sendingCandidates = true;
    try {
      while (this.#gathered.length > 0 && !this.#closed) {
        await this.#send({ type: "candidates", candidates: this.#gathered.splice(0) });
      }
    } catch {
      this.#gathered.length = 0;
    } finally {
      this.#sendingCandidates = false;
    }
  }

  /** @param {RTCPeerConnection} pc */
  #connectionChanged(pc) {
    if (this.#closed) return;
    clearTimeout(this.#hiccup);
    switch (pc.connectionState) {
      case "connecting":
        this.#events.onstate(this.#restarts > 0 ? "reconnecting" : "connecting");
        break;
      case "connected":
        this.#restarts = 0;
        this.#worked = true;
        this.#events.onstate("connected");
        break;
      case "disconnected":
        this.#events.onstate("reconnecting");
        this.#hiccup = setTimeout(() => this.#restart(pc), HICCUP);
        break;
      case "failed":
        this.#restart(pc);
        break;
    }
  }

  /** @param {RTCPeerConnection} pc */
  #restart(pc) {
    if (this.#closed) return;
    if (this.#restarts >= (this.#worked ? RESTARTS.after : RESTARTS.before)) {
      this.#events.onstate("failed");
      return;
    }
    this.#restarts++;
    this.#events.onstate("reconnecting");
    pc.restartIce();
  }
}

/**
 * Reads what a stranger sent as a signal.
 * @param {any} data
 * @returns {Signal | undefined} undefined for what is none
 */
export function readSignal(data) {
  if (data?.type === "description") {
    const { type, sdp } = data.description ?? {};
    if ((type === "offer" || type === "answer") && typeof sdp === "string") {
      return { type: "description", description: { type, sdp } };
    }
  }
  if (data?.type === "candidates" && Array.isArray(data.candidates)) {
    const candidates = data.candidates.slice(0, MOST_CANDIDATES).filter(isCandidate);
    return { type: "candidates", candidates };
  }
  return undefined;
}

/** @param {any} one */
function isCandidate(one) {
  const optional = (/** @type {unknown} */ value, /** @type {string} */ type) =>
    value === undefined || value === null || typeof value === type;
  return typeof one?.candidate === "string" && optional(one.sdpMid, "string") &&
    optional(one.sdpMLineIndex, "number") && optional(one.usernameFragment, "string");
}
