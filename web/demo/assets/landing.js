/** The start page: adapts its commands to this server, and adds buttons that copy them. */

import { copy } from "./copy.js";

const url = new URL("inbox", location.href).href.replaceAll("'", "%27").replaceAll('"', "%22");
/** Keeps two visitors who paste the same lines from opening the same inbox. */
const suffix = random(5);
const passwords = { alice: random(10), bob: random(10) };

for (const code of document.querySelectorAll("[data-command]")) {
  code.textContent = (code.textContent ?? "")
    .replaceAll("http://localhost:3000/inbox", url)
    .replaceAll("alice:alices-password", `alice-${suffix}:${passwords.alice}`)
    .replaceAll("bob:bobs-password", `bob-${suffix}:${passwords.bob}`)
    .replaceAll("to=bob", `to=bob-${suffix}`);
}

for (const command of document.querySelectorAll(".command")) {
  const title = command.parentElement?.querySelector("h2, h3")?.textContent ?? "";
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.setAttribute("aria-label", `Copy the command: ${title}`);
  button.addEventListener("click", async () => {
    const copied = await copy(command.querySelector("code")?.textContent ?? "");
    const status = document.getElementById("copied");
    if (status) status.textContent = copied ? "Copied." : "This browser did not copy it. Select the text and copy it yourself.";
    button.textContent = copied ? "Copied" : "Select it";
    setTimeout(() => {
      button.textContent = "Copy";
      if (status) status.textContent = "";
    }, 2000);
  });
  command.append(button);
}

/** @param {number} length */
function random(length) {
  const letters = "abcdefghjkmnpqrstvwxyz0123456789";
  return Array.from(crypto.getRandomValues(new Uint8Array(length)), (value) => letters[value % 32]).join("");
}
