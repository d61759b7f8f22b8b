/** The form before a call: name, devices, link and ICE servers. */

import { randomId, randomPassword } from "../inbox.js";
import { keepIce, showFault, showIce } from "./ice.js";
import { cleanName, friendlyName } from "./names.js";
import { faultOfId, loadName, saveName } from "./settings.js";
import { peerOfLink } from "./share.js";
import { element } from "./view.js";

/**
 * @typedef {object} Choice
 * @property {string} id
 * @property {string} password
 * @property {boolean} random whether the id is random
 * @property {import("./media.js").Wish} wish
 * @property {boolean} ask whether a call rings before it is answered
 * @property {string} [to] the id to call
 */

/** @param {string} id */
const input = (id) => /** @type {HTMLInputElement} */ (element(id));

/** @typedef {{id: string, password: string}} Self an id and its password */

/** @returns {Self} a random id and password */
const newSelf = () => ({ id: randomId(), password: randomPassword() });

export class Setup {
  #start;
  /** The id of this tab, unless the person types another one. */
  #self = newSelf();
  /** Whether the id is random. The field then stays empty. */
  #random = true;
  /** @type {string | undefined} */
  #to;

  /** @param {(choice: Choice) => void} start */
  constructor(start) {
    this.#start = start;
    element("setup").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    element("new-id").addEventListener("click", () => {
      this.#self = newSelf();
      this.#random = true;
      this.#fill();
      element("new-id-done").hidden = false;
    });
    input("id").addEventListener("input", () => {
      element("new-id-done").hidden = true;
      input("name").placeholder = friendlyName(input("id").value || this.#self.id);
      showFault("id", this.#typedFault());
    });
  }

  /**
   * Shows the form.
   * @param {Self & {ask?: boolean, random?: boolean}} kept the previous state of this tab
   * @param {{advanced?: boolean}} [options] advanced: whether to open the ICE servers
   * @returns {string | undefined} the problem with the page's link, as a name in words.js
   */
  show(kept, { advanced = false } = {}) {
    this.#self = kept.id === "" ? newSelf() : { id: kept.id, password: kept.password };
    this.#random = kept.id === "" || kept.random !== false;
    this.#fill();
    input("auto").checked = kept.ask === false;
    element("new-id-done").hidden = true;
    showIce(advanced);
    return this.#showLink(kept.id);
  }

  /** @param {string} own the id of this tab, or an empty string */
  #showLink(own) {
    const linked = peerOfLink();
    const isOwn = linked !== undefined && linked === own;
    const broken = linked !== undefined && faultOfId(linked) !== undefined;
    this.#to = isOwn || broken ? undefined : linked;
    const calls = this.#to !== undefined;
    element("setup").dataset.mode = calls ? "call" : "wait";
    element("setup-title").textContent = calls ? "Call the person who gave you this link" : "Start a call";
    element("setup-text").textContent = calls
      ? "Their page rings. When they answer, you see and hear each other. A call is for two, and travels encrypted from your browser to theirs."
      : "You get a link. Send it to one person: this page rings when they open it. A call is for two, and travels encrypted from your browser to theirs.";
    element("instead").hidden = !calls;
    element("start").textContent = calls ? "Call" : "Get a link";
    return isOwn ? "own-link" : broken ? "broken-link" : undefined;
  }

  #fill() {
    input("name").value = loadName();
    input("name").placeholder = friendlyName(this.#self.id);
    input("id").value = this.#random ? "" : this.#self.id;
    showFault("id", undefined);
  }

  /** @returns {string | undefined} what is wrong with the typed ending */
  #typedFault() {
    const { value } = input("id");
    return value === "" ? undefined : faultOfId(value);
  }

  #submit() {
    const typed = input("id").value;
    const id = typed === "" ? (this.#random ? this.#self.id : randomId()) : typed;
    const fault = this.#typedFault() ?? (id === this.#to ? "That is the ending of the link you want to call. Choose another one for yourself." : undefined);
    showFault("id", fault);
    if (fault) {
      /** @type {HTMLDetailsElement} */ (element("link-details")).open = true;
      return input("id").focus();
    }

    if (!keepIce()) return;
    const name = cleanName(input("name").value);
    saveName(name);
    const wish = /** @type {HTMLInputElement} */ (document.querySelector("input[name=wish]:checked")).value;
    this.#start({
      id,
      password: id === this.#self.id ? this.#self.password : randomPassword(),
      random: typed === "",
      wish: /** @type {import("./media.js").Wish} */ (wish),
      ask: !input("auto").checked,
      to: this.#to,
    });
  }
}
