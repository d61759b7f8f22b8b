/**
 * @typedef {object} Path
 * @property {"host" | "srflx" | "prflx" | "relay"} kind the type of the more distant end
 * @property {string} local the type of this side's candidate
 * @property {string} remote the type of the other side's candidate
 * @property {string} protocol udp or tcp
 */

/**
 * Returns how the two are connected; undefined while the browser does not know.
 * @param {RTCPeerConnection} pc
 * @returns {Promise<Path | undefined>}
 */
export async function pathOf(pc) {
  /** @type {Map<string, any>} */
  const stats = new Map(/** @type {any} */ (await pc.getStats()));
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
 * Describes a path.
 * @param {Path} path
 * @returns {{short: string, long: string, details: string}} details: in an expert's terms
 */
export function pathWords({ kind, local, remote, protocol }) {
  const short = kind === "relay" ? "Connected through a relay" : "Connected directly";
  const more = { host: ", on the same network", prflx: "", srflx: ", across networks", relay: "" }[kind];
  return { short, long: `${short}${more}.`, details: `${local} to ${remote}, over ${protocol}` };
}
