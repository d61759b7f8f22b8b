/** Detects browsers in which a policy, a setting or an extension has switched WebRTC off. */

/** @returns {string | undefined} why WebRTC does not work; undefined if it does */
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

/** How long a connection without candidates may take to restart gathering, in milliseconds. */
const REGATHER = 1000;

/**
 * Calls back when a connection has gathered no candidates at all and so cannot succeed.
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
