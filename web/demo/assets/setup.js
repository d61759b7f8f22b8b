/** The form before a call: who one is, what one takes part with, and the ICE servers. */

import { randomId, randomPassword } from "../inbox.js";
import { keepIce, showFault, showIce } from "./ice.js";
import { faultOfId } from "./settings.js";
import { peerOfLink } from "./share.js";
import { element } from "./view.js";

/**
 * @typedef {object} Choice
 * @property {string} id
 * @property {string} password
 * @property {import("./media.js").Wish} wish
 * @property {boolean} ask whether a call rings before it is answered
 * @property {string} [to] whom to call
 */

/** @param {string} id */
const input = (id) => /** @type {HTMLInputElement} */ (element(id));

export class Setup {
  #start;
  #kept = { id: "", password: "" };
  /** @type {string | undefined} */
  #to;

  /** @param {(choice: Choice) => void} start */
  constructor(start) {
    this.#start = start;
    element("setup").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    element("new-id").addEventListener("click", () => this.#fill(randomId(), false));
    input("id").addEventListener("input", () => {
      // An id that somebody thought of can be guessed by somebody else.
      input("ask").checked = true;
      showFault("id", faultOfId(input("id").value));
    });
  }

  /**
   * @param {{id: string, password: string, ask?: boolean}} kept who this tab was
   * @param {{advanced?: boolean}} [options] whether to show the ICE servers
   * @returns {string | undefined} what is wrong with the page's link, as a name in words.js
   */
  show(kept, { advanced = false } = {}) {
    this.#kept = kept;
    if (kept.id === "") this.#fill(randomId(), false);
    else this.#fill(kept.id, kept.ask === true);
    showIce(advanced);
    return this.#showLink();
  }

  #showLink() {
    const linked = peerOfLink();
    const own = linked !== undefined && linked === this.#kept.id;
    const broken = linked !== undefined && faultOfId(linked) !== undefined;
    this.#to = own || broken ? undefined : linked;
    element("setup").dataset.mode = this.#to === undefined ? "wait" : "call";
    element("setup-title").textContent = this.#to === undefined ? "Start a call" : "Call somebody";
    element("setup-peer").textContent = this.#to ?? "";
    element("setup-peer").hidden = this.#to === undefined;
    element("setup-text").textContent = this.#to === undefined
      ? "Open your inbox, give somebody the link that appears, and you see and hear each other. Picture, sound and chat go directly between the two of you."
      : "When they answer, you see and hear each other. Picture, sound and chat go directly between the two of you.";
    element("id-hint").textContent = this.#to === undefined
      ? "Any name will do. The random one cannot be guessed: only who has your link can call."
      : "The other side sees it. Any name will do.";
    element("start").textContent = this.#to === undefined ? "Open my inbox" : "Call";
    return own ? "own-link" : broken ? "broken-link" : undefined;
  }

  /** @param {string} id @param {boolean} ask */
  #fill(id, ask) {
    input("id").value = id;
    input("ask").checked = ask;
    showFault("id", undefined);
  }

  #submit() {
    const id = input("id").value;
    const fault = faultOfId(id) ?? (id === this.#to ? "That is the id you want to call. Choose another one for yourself." : undefined);
    showFault("id", fault);
    if (fault) return input("id").focus();

    if (!keepIce()) return;
    const wish = /** @type {HTMLInputElement} */ (document.querySelector("input[name=wish]:checked")).value;
    this.#start({
      id,
      password: id === this.#kept.id ? this.#kept.password : randomPassword(),
      wish: /** @type {import("./media.js").Wish} */ (wish),
      ask: input("ask").checked,
      to: this.#to,
    });
  }
}
