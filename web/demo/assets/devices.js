/** The dialog for choosing camera, microphone and loudspeaker. */

import { element } from "./view.js";

/** @type {Record<string, {select: string, kind: "audio" | "video" | undefined}>} */
const fields = {
  videoinput: { select: "choose-camera", kind: "video" },
  audioinput: { select: "choose-microphone", kind: "audio" },
  audiooutput: { select: "choose-speaker", kind: undefined },
};

/** The chosen loudspeaker; empty for the browser's choice. */
let speaker = "";

/** Plays a video through the chosen loudspeaker. @param {HTMLVideoElement} video */
export function useSpeaker(video) {
  if (speaker !== "") video.setSinkId(speaker).catch(() => {});
}

/** @param {import("./media.js").OwnMedia} own */
export function wireDevices(own) {
  const dialog = /** @type {HTMLDialogElement} */ (element("devices"));
  const remote = /** @type {HTMLVideoElement} */ (element("remote"));
  element("choose-devices").hidden = navigator.mediaDevices?.enumerateDevices === undefined;
  element("choose-devices").addEventListener("click", async () => {
    await show(own, remote);
    dialog.showModal();
  });
  element("devices-done").addEventListener("click", () => dialog.close());
  navigator.mediaDevices?.addEventListener?.("devicechange", () => dialog.open && show(own, remote));
  for (const { select, kind } of Object.values(fields)) {
    const field = /** @type {HTMLSelectElement} */ (element(select));
    field.addEventListener("change", async () => {
      if (kind) await own.choose(kind, field.value);
      else await chooseSpeaker(remote, field.value);
      await show(own, remote); // the chosen device may not be available
    });
  }
}

/** @param {HTMLVideoElement} remote @param {string} id */
async function chooseSpeaker(remote, id) {
  await remote.setSinkId(id).catch(() => {});
  speaker = remote.sinkId;
  for (const video of document.querySelectorAll(".tile video")) useSpeaker(/** @type {HTMLVideoElement} */ (video));
}

/**
 * @param {import("./media.js").OwnMedia} own
 * @param {HTMLVideoElement} remote
 */
async function show(own, remote) {
  const devices = await navigator.mediaDevices.enumerateDevices();
  for (const [of, { select, kind }] of Object.entries(fields)) {
    // Without permission, devices have neither names nor ids.
    const found = devices.filter((device) => device.kind === of && device.deviceId !== "" && device.label !== "");
    const field = /** @type {HTMLSelectElement} */ (element(select));
    const usable = found.length > 0 && (kind ? own.stream.getTracks().some((track) => track.kind === kind) : "setSinkId" in remote);
    /** @type {HTMLElement} */ (field.closest(".field")).hidden = !usable;
    const track = own.stream.getTracks().find((track) => track.kind === kind);
    const chosen = kind ? track?.getSettings().deviceId : remote.sinkId || "default";
    field.replaceChildren(...found.map(({ deviceId, label }) => new Option(label, deviceId, false, deviceId === chosen)));
  }
  element("no-devices").hidden = document.querySelector("#devices .field:not([hidden])") !== null;
}
