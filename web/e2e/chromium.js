/** How all tests start Chromium. */

/**
 * Features that cost a test time or change what it sees. This list replaces the driver's own,
 * so those of the driver that matter here are in it too.
 */
const DISABLED = [
  // Each new window would start two renderers for suggestions below the address bar: half of
  // the processor's work of opening a page.
  "WebUIOmniboxPopup", "WebUIOmniboxAimPopup",
  // As the driver does.
  "AvoidUnnecessaryBeforeUnloadCheckSync", "AvoidCorsURLLoaderRestartOnRedirect", "DestroyProfileOnBrowserClose", "HttpsUpgrades",
  "HttpsFirstBalancedModeAutoEnable", "LensOverlay", "MediaRouter", "PaintHolding", "ThirdPartyStoragePartitioning",
  "OptimizationHints", "NetworkTimeServiceQuerying", "AimEnabled", "PreconnectToSearch",
];

/**
 * What Chromium is launched with.
 * @param {{devices?: number, answers?: boolean, names?: boolean, flags?: string[]}} [options] devices: how many
 *   cameras there are; answers: the question whether a page may use them is answered with yes; names: candidates have
 *   names of mDNS, which need a network that has multicast, instead of plain addresses
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
      // Few frames a second, because every one is encoded by the processor.
      ...(devices > 0 ? [`--use-fake-device-for-media-stream=fps=10,device-count=${devices}`] : []),
      ...(answers ? ["--use-fake-ui-for-media-stream"] : []),
      ...flags,
    ],
  };
}
