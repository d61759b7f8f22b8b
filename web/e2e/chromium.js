/** The options with which all tests start Chromium. */

/**
 * Features that slow tests down or change what they see. This list replaces the driver's list,
 * so it repeats the entries of the driver that matter here.
 */
const DISABLED = [
  // These start two renderers in each new window for suggestions below the address bar, which
  // doubles the work of opening a page.
  "WebUIOmniboxPopup", "WebUIOmniboxAimPopup",
  // The driver disables these too.
  "AvoidUnnecessaryBeforeUnloadCheckSync", "AvoidCorsURLLoaderRestartOnRedirect", "DestroyProfileOnBrowserClose", "HttpsUpgrades",
  "HttpsFirstBalancedModeAutoEnable", "LensOverlay", "MediaRouter", "PaintHolding", "ThirdPartyStoragePartitioning",
  "OptimizationHints", "NetworkTimeServiceQuerying", "AimEnabled", "PreconnectToSearch",
];

/**
 * Returns the options for launching Chromium.
 * @param {{devices?: number, answers?: boolean, names?: boolean, flags?: string[]}} [options] devices: the number of
 *   cameras; answers: whether pages get permission to use them; names: whether candidates contain mDNS names, which need a
 *   network with multicast, instead of plain addresses
 */
export function chromiumOptions({ devices = 1, answers = true, names = true, flags = [] } = {}) {
  const disabled = names ? DISABLED : [...DISABLED, "WebRtcHideLocalIpsWithMdns"];
  return {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    timeout: 60_000,
    args: [
      "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync",
      `--disable-features=${disabled.join()}`,
      // Few frames per second, because the processor encodes each of them.
      ...(devices > 0 ? [`--use-fake-device-for-media-stream=fps=10,device-count=${devices}`] : []),
      ...(answers ? ["--use-fake-ui-for-media-stream"] : []),
      ...flags,
    ],
  };
}
