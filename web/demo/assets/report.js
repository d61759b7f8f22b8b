/** Writes the report of the test page, in an expert's terms. */

/**
 * @param {import("./probes.js").Facts} facts
 * @param {import("./causes.js").Finding[]} found
 * @param {{browser: string, page: string, addresses: boolean}} options addresses: whether to include network addresses
 * @returns {string}
 */
export function reportOf(facts, found, { browser, page, addresses }) {
  const { origin, host } = new URL(page);
  /** @type {string[]} */
  const known = [];
  /** @param {string} address */
  const hidden = (address) => {
    if (addresses || address === "") return address;
    if (!known.includes(address)) known.push(address);
    return `[address ${known.indexOf(address) + 1}]`;
  };
  /** Hides the host in the URL of an ICE server. @param {string} url */
  const shown = (url) => (addresses ? url : url.replace(/^(\w+:)(\[[^\]]*\]|[^:?]*)/, "$1HOST"));
  const lines = [`inbox connection test of ${addresses ? origin : origin.replace(host, "HOST")}`, `browser: ${browser}`];
  for (const { name, level } of found) lines.push(`${level}: ${name}`);
  if (facts.server !== undefined) lines.push(`server: ${facts.server}`);
  if (facts.clock !== undefined) lines.push(`clock: ${facts.clock} s ahead of the server`);
  for (const [way, how] of Object.entries(facts.mailbox ?? {})) lines.push(`${way}: ${how}`);
  if (facts.webrtc !== undefined) lines.push(`webrtc: ${facts.webrtc}`);
  if (facts.iceStatus !== undefined) lines.push(`ice: ${facts.iceStatus}`);
  for (const { url, candidates, errors, complete, self } of facts.ice ?? []) {
    lines.push(`${shown(url)}${complete || candidates.some(({ type }) => type === "relay") ? "" : " (incomplete)"}`);
    for (const { type, address, port } of candidates) lines.push(`  ${type} ${hidden(address)}${addresses ? ` ${port}` : ""}`);
    for (const { code, text } of errors) lines.push(`  error ${code} ${text}`);
    if (self) lines.push(`  call to itself: ${self.connected ? `${self.ms} ms` : "no path"}`);
  }
  if (facts.mappings !== undefined) lines.push(`mappings: ${facts.mappings}`);
  if (facts.address) lines.push(`seen as: ${hidden(facts.address)}`);
  for (const [device, how] of Object.entries(facts.devices ?? {})) lines.push(`${device}: ${how}`);
  return `${lines.join("\n")}\n`;
}
