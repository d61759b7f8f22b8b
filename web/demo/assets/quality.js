/** Limits the video that a page sends to several others. */

/** The most that all videos of this page may take together, in bits per second: what a phone and its network manage. */
const TOTAL = 2_500_000;
/** The height of the picture for 1, 2, 3, 4 and 5 others, in pixels. More people have smaller tiles. */
const HEIGHTS = [720, 480, 360, 360, 270];

/**
 * Limits one outgoing video. Does nothing before it is negotiated.
 * @param {RTCRtpSender} sender
 * @param {number} others to whom this page sends, at least 1
 * @param {boolean} screen whether it is a screen, whose text has to stay readable
 */
export async function limitVideo(sender, others, screen) {
  const { width = 0, height = 0 } = sender.track?.getSettings() ?? {};
  const parameters = sender.getParameters();
  const encoding = parameters.encodings?.[0];
  if (!encoding) return;
  const wanted = {
    maxBitrate: Math.round(TOTAL / others),
    scaleResolutionDownBy: screen ? 1 : Math.max(1, Math.min(width, height) / HEIGHTS[Math.min(others, HEIGHTS.length) - 1]),
  };
  if (encoding.maxBitrate === wanted.maxBitrate && encoding.scaleResolutionDownBy === wanted.scaleResolutionDownBy) return;
  Object.assign(encoding, wanted);
  await sender.setParameters(parameters).catch(() => {}); // the connection was closed
}
