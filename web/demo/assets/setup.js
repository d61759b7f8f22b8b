/** The form before a call: name, devices, link and ICE servers. */

import { randomId, randomPassword } from "../inbox.js";
import { keepIce, showFault, showIce } from "./ice.js";
import { cleanName, friendlyName } from "./names.js";
import { faultOfId, loadName, saveName } from "./settings.js";
import { peerOfLink, roomOfLink } from "./share.js";
import { element } from "./view.js";
import { setupWords } from "./words.js";

/**
 * @typedef {object} Choice
 * @property {string} id
 * @property {string} password
 * @property {boolean} random whether the id is random
 * @property {import("./media.js").Wish} wish
 * @property {boolean} ask whether a call rings before it is answered
 * @property {string} [to] the id to call
 * @property {string} [room] the room of a group call
 */

/** @param {string} id */
const input = (id) => /** @type {HTMLInputElement} */ (element(id));

/** @returns {import("./media.js").Wish} what the person takes part with */
const wanted = () => /** @type {any} */ (document.querySelector("input[name=wish]:checked")).value;

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
  /** @type {string | undefined} */
  #room;
  #own;

  /**
   * @param {(choice: Choice) => void} start
   * @param {import("./media.js").OwnMedia} own shown before a group call, when the person asks for it
   */
  constructor(start, own) {
    this.#start = start;
    this.#own = own;
    element("look").addEventListener("click", () => own.start(wanted()));
    element("setup").addEventListener("change", ({ target }) => {
      if (!(target instanceof HTMLInputElement && target.name === "wish") || !own.stream.active) return;
      own.close();
      if (this.#room !== undefined && target.value !== "none") own.start(wanted());
    });
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
   * @param {Self & {ask?: boolean, random?: boolean, room?: string}} kept the previous state of this tab
   * @param {{advanced?: boolean}} [options] advanced: whether to open the ICE servers
   * @returns {string | undefined} the problem with the page's link, as a name in words.js
   */
  show(kept, { advanced = false } = {}) {
    const room = roomOfLink();
    // The members of a room know an id. It is for that room only.
    const fresh = kept.id === "" || kept.room !== room;
    this.#self = fresh ? newSelf() : { id: kept.id, password: kept.password };
    this.#random = fresh || kept.random !== false;
    this.#room = room !== undefined && faultOfId(room) === undefined ? room : undefined;
    this.#fill();
    input("auto").checked = kept.ask === false;
    input("quiet").checked = this.#own.off.has("audio");
    element("new-id-done").hidden = true;
    showIce(advanced);
    return this.#showLink(kept.id);
  }

  /** @param {string} own the id of this tab, or an empty string */
  #showLink(own) {
    const linked = peerOfLink();
    const isOwn = linked !== undefined && linked === own;
    const broken = (linked !== undefined && faultOfId(linked) !== undefined) || roomOfLink() !== this.#room;
    this.#to = isOwn || broken || this.#room !== undefined ? undefined : linked;
    const mode = this.#room !== undefined ? "group" : this.#to !== undefined ? "call" : "wait";
    const { title, text, start, name } = setupWords[mode];
    element("setup").dataset.mode = mode;
    element("setup-title").textContent = title;
    element("setup-text").textContent = text;
    element("start").textContent = start;
    element("name-hint").textContent = name;
    element("instead").hidden = mode === "wait";
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
    if (this.#room !== undefined && this.#own.off.has("audio") !== input("quiet").checked) this.#own.toggle("audio");
    this.#start({
      id,
      password: id === this.#self.id ? this.#self.password : randomPassword(),
      random: typed === "",
      wish: wanted(),
      ask: !input("auto").checked,
      to: this.#to,
      room: this.#room,
    });
  }
}
