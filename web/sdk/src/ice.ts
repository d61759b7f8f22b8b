import type { Tried } from "./call-error.js";
import type { Inbox } from "./messaging.js";
import { request, requestText } from "./request.js";
import { pause } from "./wait.js";

/** How long to wait for the list of ICE servers, in milliseconds. A call continues without it. */
export const ICE_SERVERS_TIMEOUT = 5000;
/** How long ICE gets to find a better path before the path is reported, in milliseconds. */
const SETTLE_TIME = 3000;
/** The server takes one report per inbox in this time, in milliseconds. */
const REPORT_INTERVAL = 60_000;

/** Gets the STUN and TURN servers that the inbox server offers. They are valid for `ttl` seconds. */
export async function fetchIce({ server }: Inbox, signal: AbortSignal): Promise<{ iceServers: RTCIceServer[]; ttl: number }> {
  return JSON.parse((await requestText(server, {}, { path: "ice", success: /^200.*json/, signal, timeout: ICE_SERVERS_TIMEOUT })).content);
}

/** Reports the outcome of a call, in fixed words without an id or an address, by a request that outlives the page. */
export async function report({ server }: Inbox, answeredAt: number | undefined, words: object | Promise<object>): Promise<void> {
  const now = Date.now();
  const body = JSON.stringify({ ms: answeredAt && now - answeredAt, ...(await words) });
  if (server.shared.nextReport! > now) return;
  server.shared.nextReport = now + REPORT_INTERVAL;
  await request(server, {}, { path: "outcome", method: "POST", keepalive: true, success: /^204/, body });
}

/** Returns the outcome of a call that has connected, with the path on which ICE settles. */
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
  const relayed = local.candidateType === "relay";
  // This side does not send from the address of a relay, but from the related one.
  const addresses = `${[local.relatedAddress, relayed || [local.address, remote.address]]}`;
  return {
    result: "connected",
    path: relayed || remote.candidateType === "relay" ? "relay" : pair && "direct",
    transport: local.relayProtocol ?? local.protocol,
    family: /:/.test(addresses) ? "ipv6" : /\d\.\d/.test(addresses) ? "ipv4" : undefined,
  };
}

/**
 * Returns why ICE found no path, in a word of the protocol. serverFault is the fault of a
 * STUN or TURN server, if one reported any. udpSilent says that one did not answer over UDP.
 */
export function causeOf(pc: RTCPeerConnection, { local, remote }: Tried, serverFault: string | undefined, udpSilent: boolean): string {
  const servers = JSON.stringify(pc.getConfiguration().iceServers);
  if (!local.length) return "no-candidates";
  if (local.includes("relay")) return remote.includes("relay") ? "relay-failed" : "peer-no-relay";
  // A machine with a public address has no srflx candidate, although the STUN server answered.
  const blocked = udpSilent && !local.includes("srflx");
  return serverFault ?? (/"turn/.test(servers) && (!blocked || /"turns|=tcp/.test(servers)) ? "relay-unreachable" : blocked ? "udp-blocked" : "no-relay");
}
