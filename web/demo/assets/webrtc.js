/** Whether this browser makes connections at all. Policies, settings and extensions can switch them off. */

/** @returns {string | undefined} what the browser says against it; undefined if nothing is wrong */
export function webrtcFault() {
  if (typeof RTCPeerConnection !== "function") return "RTCPeerConnection is missing.";
  try {
    const pc = new RTCPeerConnection();
    pc.createDataChannel("");
    pc.close();
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  return undefined;
}

/** How long a connection without candidates may take to begin gathering again. */
const REGATHER = 1000;

/**
 * Calls back when a connection has looked for candidates and found none at all, so
 * that nothing can come of it.
 * @param {RTCPeerConnection} pc
 * @param {() => void} act
 */
export function onNoCandidates(pc, act) {
  let found = false;
  pc.addEventListener("icecandidate", ({ candidate }) => {
    if (candidate?.candidate) found = true;
  });
  const none = () => !found && pc.iceGatheringState === "complete" && pc.signalingState !== "closed";
  pc.addEventListener("icegatheringstatechange", () => {
    if (none()) setTimeout(() => none() && act(), REGATHER);
  });
}
