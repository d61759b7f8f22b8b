/** Explains the observations of the test page. Nothing here touches the page or the network. */

/**
 * @typedef {import("./probes.js").Facts} Facts
 * @typedef {"ok" | "note" | "warning" | "bad"} Level
 *
 * @typedef {object} Finding
 * @property {string} name stable; tests and the report use it
 * @property {Level} level
 * @property {string} title what was found
 * @property {string} [text] what it means for calls, and what the reader can do
 * @property {string} [details] the same in an expert's terms, and what an operator can do
 */

/** A clock that is wrong by more than this many seconds may make TURN refuse credentials. */
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
      "draining": "It is restarting. Test again in a minute.",
      "store-unavailable": "It cannot reach its database. Tell the person who runs this site.",
      "no-answer": "Check that this device is online. If other pages open, tell the person who runs this site.",
      "not-inbox": "The login page of your network may answer in its place. Log in to the network, then test again.",
    }[server] ?? `It answers with “${server}”. Tell the person who runs this site.`;
    return [{ name: "server", level: "bad", title: "The server does not answer properly.", text }];
  }
  if (clock === undefined || Math.abs(clock) <= CLOCK_OFF) return [];
  return [{
    name: "clock", level: "warning",
    title: `The clock of this device is ${Math.round(Math.abs(clock) / 60)} minutes ${clock > 0 ? "ahead of" : "behind"} the server's.`,
    text: "A wrong clock can make calls fail. In the settings of this device, let the network set the time.",
    details: "Certificates and the credentials for TURN are valid for a limited time.",
  }];
}

/** @param {Facts} facts @returns {Finding[]} */
function aboutMailbox({ mailbox }) {
  if (mailbox === undefined) return [];
  const { poll, longPoll, stream, socket } = mailbox;
  /** @type {Finding[]} */
  const found = [];
  /** @param {string} name @param {Level} level @param {string} title @param {string} [text] @param {string} [details] */
  const add = (name, level, title, text, details) => found.push({ name, level, title, text, details });
  if (poll !== "ok") add("poll", "bad", "Messages do not reach this device.", "You cannot call or be called from here. Something between this device and the server changes what is sent. Try another network.");
  if (socket !== "ok") add("socket", "note", "One of three ways for messages is blocked.", "Calls work: messages take another way.", "A proxy does not pass WebSockets. Operators: let it pass the headers Upgrade and Connection.");
  if (stream === "held") add("stream", "note", "One of three ways for messages is too slow.", "Calls work: messages take another way.", "A proxy buffers streams. Operators: switch off buffering, for nginx with proxy_buffering off.");
  else if (stream !== "ok") add("stream", "note", "One of three ways for messages breaks off.", "Calls work: messages take another way.", "A proxy cuts streams off.");
  if (longPoll !== "ok") add("long-poll", "note", "One of three ways for messages is cut short.", "Calls work, but may begin a little later.", "A proxy ends requests that wait. Operators: give it a timeout of more than 30 seconds.");
  if (poll === "ok" && [stream, socket, longPoll].every((how) => how !== "ok")) {
    add("slow-messages", "warning", "Messages arrive late.", "Calls work, but take longer to begin.", "No streaming, WebSocket or long polling gets through.");
  }
  if (found.length === 0) add("mailbox", "ok", "Messages reach this device.");
  return found;
}

/** @param {Facts} facts @returns {Finding[]} */
function aboutCalls(facts) {
  const { webrtc, ice, iceStatus } = facts;
  if (webrtc !== undefined) {
    return [{
      name: "no-webrtc", level: "bad", title: "This browser cannot connect to other people.",
      text: "A company policy, a setting or an extension has switched that off. Use another browser, or ask the person who manages this one.",
      details: `WebRTC is switched off. The browser says: ${webrtc}`,
    }];
  }
  if (ice === undefined) return [];
  if (iceStatus !== 200) {
    return [{ name: "no-ice", level: "warning", title: "This site does not help calls through firewalls.", text: "You can call people in the same network. Calls to other networks may fail.", details: `The server names no STUN and TURN servers: /ice ${iceStatus ? `answered ${iceStatus}` : "did not answer"}.` }];
  }
  if (ice.length === 0) {
    return [{ name: "no-ice", level: "warning", title: "This site has no relay.", text: "You can call people in the same network, and some others. A relay would carry the other calls.", details: "The server names no STUN and TURN servers. Operators: leave --turn at closed." }];
  }
  return [...aboutNetwork(facts, ice), ...aboutRelay(ice)];
}

/** @param {Facts} facts @param {import("./probes.js").Gathered[]} ice @returns {Finding[]} */
function aboutNetwork({ mappings, address }, ice) {
  /** @type {Finding[]} */
  const found = [];
  /** @param {string} name @param {Level} level @param {string} title @param {string} [text] @param {string} [details] */
  const add = (name, level, title, text, details) => found.push({ name, level, title, text, details });
  const all = ice.flatMap(({ candidates }) => candidates);
  const mapped = all.filter(({ type }) => type === "srflx");
  // A device with a public address needs no translated one.
  const reachable = all.filter(({ type, address }) => type === "srflx" || (type === "host" && address !== "" && !address.endsWith(".local") && isPublic(address)));
  const relays = ice.filter(({ url }) => isTurn(url));
  const works = (/** @type {(url: string) => boolean} */ is) => relays.some((one) => is(one.url) && has(one, "relay"));
  const asked = (/** @type {(url: string) => boolean} */ is) => relays.some(({ url }) => is(url));
  const isUdp = (/** @type {string} */ url) => !isTls(url) && !isTcp(url);
  if (all.length === 0 && ice.every(({ complete, errors }) => complete && errors.length === 0)) {
    add("no-candidates", "bad", "This browser blocks calls.", "A company policy or an extension keeps it from connecting to other people. Use another browser, or ask the person who manages this one.", "WebRTC finds no ICE candidates. Some policies allow connections over a proxy only.");
    return found;
  }
  const lookups = ice.filter(({ candidates, errors }) => candidates.every(({ type }) => type === "host") && errors.some(({ text }) => /lookup/i.test(text)));
  if (lookups.length > 0) {
    add("dns", "bad", "The relay was not found.", "Calls that need it fail. Try another network, or tell the person who runs this site.", "The name of the TURN server does not resolve. Check the DNS of this device, and the name in the server's configuration.");
  }
  const noUdp = mapped.length === 0 && asked(isUdp) && !works(isUdp);
  if (noUdp && !works(isTcp) && asked(isTcp) && works(isTls)) {
    add("only-443", "warning", "This network lets only web pages through.", "Calls work, but picture and sound suffer sooner when the network is slow.", "Only TCP port 443 is open. Calls go through the relay over TLS.");
  } else if (noUdp && (works(isTls) || works(isTcp))) {
    add("udp-blocked", "warning", "This network blocks the fastest way for calls.", "Calls work, but picture and sound suffer sooner when the network is slow.", "UDP is blocked. Calls go through the relay over TCP. The administrator of the network can allow outgoing UDP to the relay's port.");
  } else if (reachable.length === 0 && ice.some(({ url, errors, complete }) => url.startsWith("stun") && (errors.length > 0 || !complete)) && lookups.length === 0) {
    add("stun", "warning", "This device does not learn its own address.", "Calls to other networks have to go through the relay.", "The STUN server does not answer.");
  } else if (mappings !== undefined && mappings > 1) {
    add("symmetric-nat", "note", "The router here allows few direct calls.", "Calls work: most of them go through the relay.", "The router is a symmetric NAT: it uses a new port for each destination.");
  } else if (reachable.length > 0 && reachable.every(({ address }) => address.includes(":"))) {
    add("ipv6-only", "note", "This network uses only the new kind of addresses.", "Calls work: those to older networks go through the relay.", "There is a public address for IPv6 only. Operators: the server needs an AAAA record.");
  }
  const seen = new Set(mapped.map(({ address }) => address));
  if (address && seen.size > 0 && !seen.has(address) && [...seen].some((one) => one.includes(":") === address.includes(":"))) {
    add("vpn", "note", "Web pages and calls leave this device on different ways.", "A VPN or a proxy does that. If calls fail, try without it.", "The server sees another address than the STUN server: this may be a split tunnel.");
  }
  if (found.length === 0) add("network", "ok", "This network lets calls through.");
  return found;
}

/** @param {string} address @returns {boolean} whether it is public */
function isPublic(address) {
  return !/^(10\.|127\.|169\.254\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.|f[cd]|fe80|::1)/i.test(address);
}

/** @param {import("./probes.js").Gathered[]} ice @returns {Finding[]} */
function aboutRelay(ice) {
  const relays = ice.filter(({ url }) => isTurn(url));
  /** @param {string} name @param {Level} level @param {string} title @param {string} [text] @param {string} [details] @returns {Finding[]} */
  const only = (name, level, title, text, details) => [{ name, level, title, text, details }];
  if (relays.length === 0) {
    return only("no-relay", "warning", "This site has no relay.", "People behind strict firewalls cannot be connected.", "The server names no TURN server. Operators: leave --turn at closed, or name one with --ice-server.");
  }
  const given = relays.filter((one) => has(one, "relay"));
  // An error of one address family or URL does not matter while another one works.
  const errors = given.length > 0 ? [] : relays.flatMap(({ errors }) => errors);
  const refused = (/** @type {number} */ code) => errors.some((error) => error.code === code);
  if (refused(401) || refused(438)) {
    return only("relay-refused", "bad", "The relay refuses calls from this site.", "Calls that need it fail. Tell the person who runs this site.", "The TURN server refuses the credentials: clocks or secrets differ. Operators: compare --ice-secret-file with the TURN server's secret, and let the network set both clocks.");
  }
  if (refused(486) || refused(508)) {
    return only("relay-busy", "bad", "The relay is full.", "Close other calls and pages, and test again in a few minutes.", "The TURN server reached its limit of allocations.");
  }
  if (given.length === 0) {
    return only("relay-unreachable", "bad", "The relay cannot be reached.", "You can call people in open networks only. Try another network, or tell the person who runs this site.", "Operators: let the ports of the relay through the firewall, or serve it over TLS on port 443.");
  }
  const broken = given.filter(({ self }) => self && !self.connected);
  if (broken.length === given.length) {
    return only("relay-failed", "bad", "The relay answers but carries no calls.", "Calls that need it fail. Tell the person who runs this site.", "The TURN server gives addresses but passes nothing on. Operators: with several servers, both peers need their addresses at one relay; a TURN server behind NAT needs its public address.");
  }
  const best = Math.min(...given.flatMap(({ self }) => (self?.connected ? [self.ms] : [])));
  return only("relay", "ok", `The relay works: a test call through it took ${(best / 1000).toFixed(1)} s to connect.`);
}

/** @param {Facts} facts @returns {Finding[]} */
function aboutDevices({ secure, devices }) {
  if (!secure) {
    return [{ name: "insecure", level: "warning", title: "Camera and microphone do not work at this address.", text: "Browsers allow them only at addresses that begin with https. Open this page over https." }];
  }
  if (devices === undefined) return [];
  return Object.entries(devices).map(([name, how]) => {
    const device = { camera: "camera", microphone: "microphone" }[name] ?? name;
    const text = {
      ok: "", muted: "It sends nothing. A key or a shutter may have switched it off.",
      NotAllowedError: "This page is not allowed to use it. Allow it next to the address of the page, then test again.",
      NotFoundError: "None was found. Connect one, or call without it.",
      NotReadableError: "Another program may be using it. Close it, then test again.",
    }[how] ?? `The browser reports ${how}.`;
    return { name: device, level: /** @type {Level} */ (how === "ok" ? "ok" : "warning"), title: how === "ok" ? `The ${device} works.` : `The ${device} does not work.`, text };
  });
}

/**
 * Returns the verdict: do calls work from here?
 * @param {Finding[]} found
 * @returns {{level: Level, title: string}}
 */
export function verdict(found) {
  const names = new Set(found.map(({ name }) => name));
  const bad = found.some(({ level }) => level === "bad");
  if (["server", "poll"].some((name) => names.has(name))) return { level: "bad", title: "Calls do not work from here: the server cannot be reached." };
  if (["no-webrtc", "no-candidates"].some((name) => names.has(name))) return { level: "bad", title: "Calls do not work in this browser." };
  if (bad) return { level: "bad", title: "Some calls will fail from here." };
  if (["udp-blocked", "only-443"].some((name) => names.has(name))) return { level: "warning", title: "Calls work from here, through the relay." };
  if (["no-ice", "no-relay"].some((name) => names.has(name))) return { level: "warning", title: "Calls work within this network." };
  return { level: "ok", title: "Calls work from here." };
}
