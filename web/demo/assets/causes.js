/** What the observations of /test mean, in words. Nothing here touches the page or the network. */

/**
 * @typedef {import("./probes.js").Facts} Facts
 * @typedef {"ok" | "note" | "warning" | "bad"} Level
 *
 * @typedef {object} Finding
 * @property {string} name for tests, and for the report
 * @property {Level} level
 * @property {string} title
 * @property {string} [text] what it means for calls, and what to do
 */

/** Beyond this, in seconds, credentials for TURN may be refused. */
const CLOCK_OFF = 120;

/** @param {string} url */
const isTls = (url) => url.startsWith("turns:");
/** @param {string} url */
const isTcp = (url) => /^turn:.*transport=tcp$/.test(url);
/** @param {string} url */
const isTurn = (url) => url.startsWith("turn");
/** @param {import("./probes.js").Gathered} gathered @param {string} type */
const has = ({ candidates }, type) => candidates.some((candidate) => candidate.type === type);

/**
 * @param {Facts} facts
 * @returns {Finding[]} about the messages, the network, the relay and the devices, in this order
 */
export function findings(facts) {
  return [...aboutServer(facts), ...aboutMailbox(facts), ...aboutCalls(facts), ...aboutDevices(facts)];
}

/** @param {Facts} facts @returns {Finding[]} */
function aboutServer({ server, clock }) {
  if (server !== undefined) {
    const text = {
      "draining": "It is about to stop. Test again in a minute.",
      "store-unavailable": "It does not reach its store. Tell its operator.",
      "no-answer": "Check that this device is online. If other pages open, tell the operator of the server.",
      "not-inbox": "A proxy or a login page answers instead. Log in to this network, then test again.",
    }[server] ?? `It answers with ${server}. Tell its operator.`;
    return [{ name: "server", level: "bad", title: "The server does not answer as it should.", text }];
  }
  if (clock === undefined || Math.abs(clock) <= CLOCK_OFF) return [];
  return [{
    name: "clock", level: "warning",
    title: `The clock of this device is ${Math.round(Math.abs(clock) / 60)} minutes ${clock > 0 ? "ahead of" : "behind"} the server's.`,
    text: "Set it by the network: the certificate and the access to the relay depend on the time.",
  }];
}

/** @param {Facts} facts @returns {Finding[]} */
function aboutMailbox({ mailbox }) {
  if (mailbox === undefined) return [];
  const { poll, longPoll, stream, socket } = mailbox;
  /** @type {Finding[]} */
  const found = [];
  /** @param {string} name @param {Level} level @param {string} title @param {string} [text] */
  const say = (name, level, title, text) => found.push({ name, level, title, text });
  if (poll !== "ok") say("poll", "bad", "Messages do not arrive.", "Nobody can call or be called from here. Something between this device and the server changes requests.");
  if (socket !== "ok") say("socket", "note", "WebSockets do not get through.", "A proxy takes the upgrade away. Messages take another way, and calls work. Operators: let the proxy pass Upgrade and Connection.");
  if (stream === "held") say("stream", "note", "A proxy holds streams back.", "Messages take another way, and calls work. Operators: switch off buffering, for nginx with proxy_buffering off.");
  else if (stream !== "ok") say("stream", "note", "Streams are cut off.", "Messages take another way, and calls work.");
  if (longPoll !== "ok") say("long-poll", "note", "A proxy cuts requests that wait.", "Operators: give the proxy a timeout of more than 30 seconds.");
  if (poll === "ok" && [stream, socket, longPoll].every((how) => how !== "ok")) {
    say("slow-messages", "warning", "Messages arrive late.", "No way to wait for them works here, so calls need longer to begin.");
  }
  if (found.length === 0) say("mailbox", "ok", "Messages arrive on every transport.");
  return found;
}

/** @param {Facts} facts @returns {Finding[]} */
function aboutCalls(facts) {
  const { webrtc, ice, iceStatus } = facts;
  if (webrtc !== undefined) {
    return [{
      name: "no-webrtc", level: "bad", title: "This browser makes no connections.",
      text: `A policy, a setting or an extension has switched WebRTC off. Use another browser, or ask whoever manages this one. It says: ${webrtc}`,
    }];
  }
  if (ice === undefined) return [];
  if (iceStatus !== 200) {
    return [{ name: "no-ice", level: "warning", title: "The server names no STUN and TURN servers.", text: `Only devices of one network connect with each other. The answer was ${iceStatus || "lost"}.` }];
  }
  if (ice.length === 0) {
    return [{ name: "no-ice", level: "warning", title: "The server has no relay.", text: "Only devices of one network, and some others, connect with each other. Operators: leave --turn at closed." }];
  }
  return [...aboutNetwork(facts, ice), ...aboutRelay(ice)];
}

/** @param {Facts} facts @param {import("./probes.js").Gathered[]} ice @returns {Finding[]} */
function aboutNetwork({ mappings, address }, ice) {
  /** @type {Finding[]} */
  const found = [];
  /** @param {string} name @param {Level} level @param {string} title @param {string} [text] */
  const say = (name, level, title, text) => found.push({ name, level, title, text });
  const all = ice.flatMap(({ candidates }) => candidates);
  const mapped = all.filter(({ type }) => type === "srflx");
  // A device with a public address of its own needs no other one.
  const reachable = all.filter(({ type, address }) => type === "srflx" || (type === "host" && address !== "" && !address.endsWith(".local") && isPublic(address)));
  const relays = ice.filter(({ url }) => isTurn(url));
  const works = (/** @type {(url: string) => boolean} */ is) => relays.some((one) => is(one.url) && has(one, "relay"));
  const asked = (/** @type {(url: string) => boolean} */ is) => relays.some(({ url }) => is(url));
  const isUdp = (/** @type {string} */ url) => !isTls(url) && !isTcp(url);
  if (all.length === 0 && ice.every(({ complete, errors }) => complete && errors.length === 0)) {
    say("no-candidates", "bad", "This browser finds no way out.", "A policy or an extension restricts WebRTC, such as one that allows connections over a proxy only. Ask whoever manages this browser.");
    return found;
  }
  const lookups = ice.filter(({ candidates, errors }) => candidates.every(({ type }) => type === "host") && errors.some(({ text }) => /lookup/i.test(text)));
  if (lookups.length > 0) {
    say("dns", "bad", "The name of the relay has no address here.", "The name server of this network does not know it. Check the DNS of this device, or the name in the server's configuration.");
  }
  const noUdp = mapped.length === 0 && asked(isUdp) && !works(isUdp);
  if (noUdp && !works(isTcp) && asked(isTcp) && works(isTls)) {
    say("only-443", "warning", "This network lets only port 443 through.", "Calls go through the relay over TLS. They connect, but a bad network is heard and seen more.");
  } else if (noUdp && (works(isTls) || works(isTcp))) {
    say("udp-blocked", "warning", "This network blocks UDP.", "Calls go through the relay over TCP. They connect, but a bad network is heard and seen more. Whoever runs the network can let UDP out to the relay's port.");
  } else if (reachable.length === 0 && ice.some(({ url, errors, complete }) => url.startsWith("stun") && (errors.length > 0 || !complete)) && lookups.length === 0) {
    say("stun", "warning", "STUN is not answered.", "This device does not learn its public address, so calls to other networks need the relay.");
  } else if (mappings !== undefined && mappings > 1) {
    say("symmetric-nat", "note", "The router here uses a new port for each destination.", "It is a symmetric NAT. Calls to most other networks go through the relay; they connect.");
  } else if (reachable.length > 0 && reachable.every(({ address }) => address.includes(":"))) {
    say("ipv6-only", "note", "This network has a public address of IPv6 only.", "Calls to networks with IPv4 only go through the relay. Operators: the server needs an AAAA record.");
  }
  const seen = new Set(mapped.map(({ address }) => address));
  if (address && seen.size > 0 && !seen.has(address) && [...seen].some((one) => one.includes(":") === address.includes(":"))) {
    say("vpn", "note", "Requests and calls leave this device by different ways.", "A VPN, a proxy or a split tunnel does that. It is a hint only: if calls fail, try without it.");
  }
  if (found.length === 0) say("network", "ok", "This network lets calls through.");
  return found;
}

/** @param {string} address whether others may reach it */
function isPublic(address) {
  return !/^(10\.|127\.|169\.254\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.|f[cd]|fe80|::1)/i.test(address);
}

/** @param {import("./probes.js").Gathered[]} ice @returns {Finding[]} */
function aboutRelay(ice) {
  const relays = ice.filter(({ url }) => isTurn(url));
  /** @param {string} name @param {Level} level @param {string} title @param {string} [text] @returns {Finding[]} */
  const say = (name, level, title, text) => [{ name, level, title, text }];
  if (relays.length === 0) {
    return say("no-relay", "warning", "The server names no relay.", "Peers behind strict networks do not connect. Operators: leave --turn at closed, or name one with --ice-server.");
  }
  const given = relays.filter((one) => has(one, "relay"));
  // What one address family or one URL says does not matter as long as another works.
  const errors = given.length > 0 ? [] : relays.flatMap(({ errors }) => errors);
  const refused = (/** @type {number} */ code) => errors.some((error) => error.code === code);
  if (refused(401) || refused(438)) {
    return say("relay-refused", "bad", "The relay refuses the access that the server gave.", "Their clocks or their secrets differ. Operators: compare --ice-secret-file with the TURN server's, and set both clocks by the network.");
  }
  if (refused(486) || refused(508)) {
    return say("relay-busy", "bad", "The relay gives this device no more room.", "Close other calls and pages, and test again in a few minutes.");
  }
  if (given.length === 0) {
    return say("relay-unreachable", "bad", "The relay is not reached.", "Calls connect only to peers with an open network. Operators: let the ports of the relay through the firewall, or serve it over TLS on port 443.");
  }
  const broken = given.filter(({ self }) => self && !self.connected);
  if (broken.length === given.length) {
    return say("relay-failed", "bad", "The relay gives addresses, but passes nothing on.", "Calls that need it fail. Operators: with several servers, both peers need their addresses at one relay; a TURN server behind NAT needs its public address.");
  }
  const best = Math.min(...given.flatMap(({ self }) => (self?.connected ? [self.ms] : [])));
  return say("relay", "ok", `A call through the relay connects in ${(best / 1000).toFixed(1)} s.`);
}

/** @param {Facts} facts @returns {Finding[]} */
function aboutDevices({ secure, devices }) {
  if (!secure) {
    return [{ name: "insecure", level: "warning", title: "This address gets no camera and no microphone.", text: "Browsers give them to pages of https and of localhost only. Open the page with https." }];
  }
  if (devices === undefined) return [];
  return Object.entries(devices).map(([name, how]) => {
    const device = { camera: "camera", microphone: "microphone" }[name] ?? name;
    const text = {
      ok: "", muted: "It gives nothing: it may be switched off by a key or a shutter.",
      NotAllowedError: "The browser or the system refuses it to this page. Allow it beside the address of the page.",
      NotFoundError: "None was found. Connect one, or call without.",
      NotReadableError: "Another program uses it, or it is broken.",
    }[how] ?? `The browser says ${how}.`;
    return { name: device, level: /** @type {Level} */ (how === "ok" ? "ok" : "warning"), title: how === "ok" ? `The ${device} works.` : `The ${device} does not work.`, text };
  });
}

/**
 * The answer to the question that everybody has.
 * @param {Finding[]} found
 * @returns {{level: Level, title: string}}
 */
export function verdict(found) {
  const names = new Set(found.map(({ name }) => name));
  const bad = found.some(({ level }) => level === "bad");
  if (["server", "poll"].some((name) => names.has(name))) return { level: "bad", title: "Calls do not work from here: the server is not reached." };
  if (["no-webrtc", "no-candidates"].some((name) => names.has(name))) return { level: "bad", title: "Calls do not work in this browser." };
  if (bad) return { level: "bad", title: "Some calls fail from here." };
  if (["udp-blocked", "only-443"].some((name) => names.has(name))) return { level: "warning", title: "Calls work from here, through the relay." };
  if (["no-ice", "no-relay"].some((name) => names.has(name))) return { level: "warning", title: "Calls work within one network." };
  return { level: "ok", title: "Calls work from here." };
}
