/** The probes of the test page. Each returns its observations, which causes.js explains. */

/**
 * @typedef {object} Seen an ICE candidate
 * @property {string} type host, srflx or relay
 * @property {string} address may be an mDNS name
 * @property {number} port
 *
 * @typedef {object} Gathered the result of one URL of an ICE server
 * @property {string} url
 * @property {Seen[]} candidates
 * @property {{code: number, text: string, address: string}[]} errors
 * @property {boolean} complete whether the browser finished gathering
 * @property {{connected: boolean, ms: number}} [self] a call of this page to itself through this relay
 *
 * @typedef {"ok" | "held" | "cut" | "failed"} Arrival
 *
 * @typedef {object} Facts
 * @property {boolean} secure whether the browser may give this page a camera
 * @property {string} [server] why the server does not answer; undefined if it does
 * @property {number} [clock] seconds by which the clock of this device is ahead
 * @property {Record<"poll" | "longPoll" | "stream" | "socket", Arrival>} [mailbox]
 * @property {string} [webrtc] why this browser cannot connect; undefined if it can
 * @property {number} [iceStatus] status of the response from /ice; 0 without one
 * @property {Gathered[]} [ice]
 * @property {number} [mappings] number of public addresses that two STUN servers saw, divided by the number that one saw
 * @property {string} [address] of this device, as the server sees it
 * @property {Record<"camera" | "microphone", string>} [devices] ok, or the name of the error
 */

/** Timeout of one step, in milliseconds. */
const PATIENCE = 10_000;
/** How long the long poll waits for a message that never arrives, in seconds. */
const WAIT = 2;
const PACKETS = 20;

const random = () => crypto.getRandomValues(new Uint32Array(4)).join("-");

/** Creates a peer with a random id and password. leave closes its inbox. */
function createPeer() {
  const id = `test-${random()}`;
  const password = random();
  return { id, password, headers: { Authorization: `Basic ${btoa(`${id}:${password}`)}` } };
}

/** @typedef {ReturnType<typeof createPeer>} Peer */

/**
 * @param {string} path
 * @param {RequestInit} [init]
 */
function request(path, init = {}) {
  return fetch(path, { cache: "no-store", credentials: "omit", redirect: "error", signal: AbortSignal.timeout(PATIENCE), ...init });
}

/** @param {Peer} from @param {Peer} to @returns {Promise<string>} the sent body */
async function send(from, to) {
  const body = random();
  const answer = await request(`inbox?to=${to.id}`, { method: "POST", headers: from.headers, body });
  if (!answer.ok) throw new Error(`${answer.status}`);
  return body;
}

/** @param {Peer} peer */
export function leave(peer) {
  return request("inbox", { method: "DELETE", headers: peer.headers, keepalive: true }).catch(() => {});
}

/** @returns {Promise<Pick<Facts, "server" | "clock">>} */
export async function probeServer() {
  try {
    const before = Date.now();
    const answer = await request("readyz");
    const text = (await answer.text()).trim();
    if (!answer.ok) return { server: text.length < 40 ? text : `${answer.status}` };
    if (text !== "ok") return { server: "not-inbox" };
    const date = Date.parse(answer.headers.get("Date") ?? "");
    // The header has whole seconds and was written between the two times.
    return Number.isNaN(date) ? {} : { clock: Math.round((before + Date.now()) / 2000 - date / 1000 - 0.5) };
  } catch {
    return { server: "no-answer" };
  }
}

/** @returns {Promise<Facts["mailbox"]>} */
export async function probeMailbox() {
  const me = createPeer();
  const they = createPeer();
  /** @param {() => Promise<Arrival>} work @returns {Promise<Arrival>} */
  const tried = (work) => work().catch(() => /** @type {const} */ ("failed"));
  try {
    return {
      poll: await tried(() => poll(me, they)),
      longPoll: await tried(() => longPoll(me)),
      stream: await tried(() => stream(me, they)),
      socket: await tried(() => socket(me, they)),
    };
  } finally {
    leave(me);
    leave(they);
  }
}

/** @param {Peer} me @param {Peer} they @returns {Promise<Arrival>} */
async function poll(me, they) {
  await request("inbox?wait=0", { headers: me.headers });
  const text = await send(they, me);
  const answer = await request("inbox?wait=0", { headers: me.headers });
  return (await answer.text()) === text ? "ok" : "failed";
}

/** @param {Peer} me @returns {Promise<Arrival>} */
async function longPoll(me) {
  const began = performance.now();
  const answer = await request(`inbox?wait=${WAIT}`, { headers: me.headers });
  return answer.status === 204 && performance.now() - began > WAIT * 1000 - 100 ? "ok" : "cut";
}

/** @param {Peer} me @param {Peer} they @returns {Promise<Arrival>} */
async function stream(me, they) {
  const ends = new AbortController();
  const timer = setTimeout(() => ends.abort(), PATIENCE);
  try {
    const answer = await request("inbox", { headers: { ...me.headers, Accept: "text/event-stream" }, signal: ends.signal });
    if (!answer.ok || !answer.body) return "failed";
    const text = await send(they, me);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let all = ""; !all.includes(text);) {
      const { done, value } = await reader.read();
      if (done) return "cut";
      all += value;
    }
    return "ok";
  } catch {
    return ends.signal.aborted ? "held" : "failed";
  } finally {
    clearTimeout(timer);
    ends.abort();
  }
}

/** @param {Peer} me @param {Peer} they @returns {Promise<Arrival>} */
function socket(me, they) {
  const url = new URL("inbox", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  url.search = url.hash = "";
  return new Promise((resolve) => {
    const ws = new WebSocket(url, "inbox.v1");
    const timer = setTimeout(() => end("held"), PATIENCE);
    /** @param {Arrival} how */
    const end = (how) => {
      clearTimeout(timer);
      resolve(how);
      ws.close();
    };
    let text = "";
    ws.onopen = () => ws.send(JSON.stringify({ type: "open", id: me.id, password: me.password }));
    ws.onmessage = ({ data }) => {
      const frame = JSON.parse(data);
      if (frame.type === "opened") send(they, me).then((sent) => (text = sent), () => end("failed"));
      // The message may arrive before the response to the request that sent it.
      if (frame.type === "message") queueMicrotask(function look() {
        if (text === "") setTimeout(look, 10);
        else end(frame.body === text ? "ok" : "failed");
      });
    };
    ws.onclose = () => end("failed");
  });
}

/**
 * Tries each URL that /ice names alone.
 * @returns {Promise<Pick<Facts, "iceStatus" | "ice" | "mappings" | "address">>}
 */
export async function probeIce() {
  const me = createPeer();
  try {
    const answer = await request("ice", { headers: me.headers });
    if (!answer.ok) return { iceStatus: answer.status, ice: [] };
    /** @type {{iceServers: RTCIceServer[]}} */
    const { iceServers } = await answer.json();
    const servers = iceServers.flatMap(({ urls, ...rest }) => [urls].flat().map((url) => ({ urls: url, ...rest })));
    const tried = withTcp(servers);
    const stun = servers.find(({ urls }) => urls.startsWith("stun:"));
    const [mappings, ...ice] = await Promise.all([stun && countMappings(stun.urls), ...tried.map((server) => gather([server]))]);
    // One after the other, so that they do not slow each other down.
    for (const [i, one] of ice.entries()) {
      if (one.candidates.some(({ type }) => type === "relay")) one.self = await callItself(tried[i]);
    }
    return {
      iceStatus: answer.status, ice, mappings,
      address: await request("address").then(async (answer) => (answer.ok ? (await answer.text()).trim() : ""), () => ""),
    };
  } catch {
    return { iceStatus: 0, ice: [] };
  } finally {
    leave(me);
  }
}

/**
 * Adds TURN over TCP on the port of UDP. The server does not name it to clients. Its result
 * tells whether a network blocks UDP or the port.
 * @param {{urls: string, username?: string, credential?: string}[]} servers
 */
function withTcp(servers) {
  const udp = servers.find(({ urls }) => /^turn:.*transport=udp$/.test(urls));
  const tcp = udp && udp.urls.replace("transport=udp", "transport=tcp");
  return !udp || !tcp || servers.some(({ urls }) => urls === tcp) ? servers : [...servers, { ...udp, urls: tcp }];
}

/** @param {RTCIceServer[]} iceServers @returns {Promise<Gathered>} */
async function gather(iceServers) {
  const url = String(iceServers[0].urls);
  /** @type {Gathered} */
  const gathered = { url, candidates: [], errors: [], complete: false };
  const pc = new RTCPeerConnection({ iceServers, iceTransportPolicy: url.startsWith("turn") ? "relay" : "all" });
  let enough = () => {};
  pc.onicecandidate = ({ candidate }) => {
    if (candidate?.candidate) gathered.candidates.push({ type: candidate.type ?? "", address: candidate.address ?? "", port: candidate.port ?? 0 });
    if (candidate?.type === "relay") enough();
  };
  pc.onicecandidateerror = ({ errorCode, errorText, address }) => {
    gathered.errors.push({ code: errorCode, text: errorText, address: address ?? "" });
  };
  const done = new Promise((resolve) => {
    setTimeout(resolve, PATIENCE);
    enough = () => resolve(undefined);
    pc.onicegatheringstatechange = () => pc.iceGatheringState === "complete" && resolve(undefined);
  });
  pc.createDataChannel("");
  await pc.setLocalDescription();
  await done;
  gathered.complete = pc.iceGatheringState === "complete";
  pc.close();
  return gathered;
}

/**
 * Connects this page to itself through the relay only.
 * @param {RTCIceServer} server
 */
async function callItself(server) {
  const config = /** @type {const} */ ({ iceServers: [server], iceTransportPolicy: "relay" });
  const [caller, callee] = [new RTCPeerConnection(config), new RTCPeerConnection(config)];
  const began = performance.now();
  try {
    for (const [from, to] of [[caller, callee], [callee, caller]]) {
      from.onicecandidate = ({ candidate }) => candidate && to.addIceCandidate(candidate).catch(() => {});
    }
    const channel = caller.createDataChannel("echo");
    callee.ondatachannel = ({ channel }) => (channel.onmessage = ({ data }) => channel.send(data));
    const echoed = new Promise((resolve, reject) => {
      let left = PACKETS;
      channel.onopen = () => {
        for (let i = 0; i < PACKETS; i++) channel.send("hello");
      };
      channel.onmessage = () => --left === 0 && resolve(undefined);
      setTimeout(() => reject(new Error("no path")), PATIENCE);
    });
    echoed.catch(() => {}); // waited for below
    await caller.setLocalDescription();
    await callee.setRemoteDescription(/** @type {any} */ (caller.localDescription));
    await callee.setLocalDescription();
    await caller.setRemoteDescription(/** @type {any} */ (callee.localDescription));
    await echoed;
    return { connected: true, ms: Math.round(performance.now() - began) };
  } catch {
    return { connected: false, ms: Math.round(performance.now() - began) };
  } finally {
    caller.close();
    callee.close();
  }
}

/**
 * Detects a symmetric NAT, which uses a new port for each destination and blocks peers. For
 * this, the server answers STUN on the next port, too.
 * @param {string} url
 * @returns {Promise<number | undefined>} see Facts.mappings
 */
async function countMappings(url) {
  const [, host, port] = /^stun:(.*?)(?::(\d+))?$/.exec(url) ?? [];
  const next = `stun:${host}:${Number(port ?? 3478) + 1}`;
  const count = async (/** @type {string[]} */ ...urls) => {
    const { candidates } = await gather(urls.map((urls) => ({ urls })));
    return new Set(candidates.filter(({ type, address }) => type === "srflx" && !address.includes(":")).map(({ address, port }) => `${address} ${port}`)).size;
  };
  const one = await count(next);
  return one === 0 ? undefined : (await count(url, next)) / one;
}

/** Opens camera and microphone once; the browser may ask the person. @returns {Promise<Facts["devices"]>} */
export async function probeDevices() {
  /** @param {MediaStreamConstraints} wish */
  const one = async (wish) => {
    try {
      const stream = await navigator.mediaDevices.getUserMedia(wish);
      const [track] = stream.getTracks();
      const dead = track.muted || track.readyState !== "live";
      track.stop();
      return dead ? "muted" : "ok";
    } catch (error) {
      return error instanceof Error ? error.name : "unknown";
    }
  };
  return { camera: await one({ video: true }), microphone: await one({ audio: true }) };
}
