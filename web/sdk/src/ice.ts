import type { Tried } from "./call-error.js";
import type { Inbox } from "./messaging.js";
import { ask, request } from "./request.js";
import { pause } from "./wait.js";

/** How long to wait for the server's list of ICE servers: a call goes on without it. */
export const ICE_SERVERS_TIMEOUT = 5000;
/** How long ICE may go on looking for a better path until it is reported. */
const SETTLE_TIME = 3000;
/** How often the server takes a report of one inbox. */
const REPORT_INTERVAL = 60_000;

/** Asks the server for STUN and TURN servers. `ttl` is for how many seconds they can be used. */
export async function fetchIce({ server }: Inbox, signal: AbortSignal): Promise<{ iceServers: RTCIceServer[]; ttl: number }> {
  return JSON.parse((await ask(server, {}, { path: "ice", form: /^200.*json/, signal, timeout: ICE_SERVERS_TIMEOUT })).content);
}

/** Reports in fixed words, without an id or an address, in a request that outlives the page. */
export async function report({ server }: Inbox, since: number | undefined, words: object | Promise<object>): Promise<void> {
  const now = Date.now();
  const body = JSON.stringify({ ms: since && now - since, ...(await words) });
  if (server.place.told! > now) return;
  server.place.told = now + REPORT_INTERVAL;
  await request(server, {}, { path: "outcome", method: "POST", keepalive: true, form: /^204/, body });
}

/** The words for a call that has connected: those of the path that ICE settles on. */
export async function pathOf(pc: RTCPeerConnection, over: AbortSignal): Promise<object> {
  const path = await currentPath(pc);
  await pause(SETTLE_TIME, over);
  return over.aborted ? path : currentPath(pc);
}

async function currentPath(pc: RTCPeerConnection): Promise<object> {
  const stats = await pc.getStats();
  const all = [...stats.values()];
  const pair =
    stats.get(all.find((one) => one.selectedCandidatePairId)?.selectedCandidatePairId) ??
    all.find(({ nominated, state }) => nominated && state === "succeeded");
  const [local, remote] = [pair?.localCandidateId, pair?.remoteCandidateId].map((id) => stats.get(id) ?? {});
  const relays = local.candidateType === "relay";
  // The address of a relay is not one that this side sends from.
  const addresses = `${[local.relatedAddress, relays || [local.address, remote.address]]}`;
  return {
    result: "connected",
    path: relays || remote.candidateType === "relay" ? "relay" : pair && "direct",
    transport: local.relayProtocol ?? local.protocol,
    family: /:/.test(addresses) ? "ipv6" : /\d\.\d/.test(addresses) ? "ipv4" : undefined,
  };
}

/**
 * Why no path was found, in a word of the protocol. fault is what a single server was at fault
 * for, if one was; silent, whether one did not answer over UDP.
 */
export function causeOf(pc: RTCPeerConnection, { local, remote }: Tried, fault: string | undefined, silent: boolean): string {
  const servers = JSON.stringify(pc.getConfiguration().iceServers);
  if (!local.length) return "no-candidates";
  if (local.includes("relay")) return remote.includes("relay") ? "relay-failed" : "peer-no-relay";
  // One that answered may have told nothing new: that a public address is what it is.
  const blocked = silent && !local.includes("srflx");
  return fault ?? (/"turn/.test(servers) && (!blocked || /"turns|=tcp/.test(servers)) ? "relay-unreachable" : blocked ? "udp-blocked" : "no-relay");
}
