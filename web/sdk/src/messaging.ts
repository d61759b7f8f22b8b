import { InboxError } from "./errors.js";
import type { Message } from "./message.js";
import { createReceiver, type CursorStorage, type MessagesOptions, type Receiver, type Transport } from "./receive.js";
import { placeOf, type Server } from "./request.js";
import { createSend, type SendOptions } from "./send.js";

export { InboxError, type InboxErrorCode } from "./errors.js";
export { randomId, randomPassword } from "./ids.js";
export type { Message } from "./message.js";
export type { CursorStorage, MessagesOptions, Transport } from "./receive.js";
export type { SendOptions } from "./send.js";

/** Whose inbox it is, and how it is to be asked. */
export interface InboxOptions {
  /**
   * Under which others send to this inbox: any characters but `:` and control
   * characters, at most 512 bytes in UTF-8, without white space at either end.
   */
  id: string;
  /** The first one who asks with an id chooses its password. At most 256 bytes in UTF-8. */
  password: string;
  /**
   * Keeps the cursor, so that a page that is loaded again goes on where it was:
   * `sessionStorage`. Id and password then have to be the same, too.
   */
  storage?: CursorStorage | undefined;
  /** What to try, the best first. All, if nothing is given. */
  transports?: readonly Transport[] | undefined;
}

/**
 * One peer's inbox on one server. Nothing is asked of the server before
 * {@link Inbox.send} or a loop over {@link Inbox.messages}.
 *
 * @example
 * const inbox = new Inbox("https://example.com/inbox", { id: randomId(), password: randomPassword() });
 * await inbox.send("bob", { hello: "Bob" });
 * for await (const message of inbox.messages()) console.log(message.from, message.data);
 */
export class Inbox {
  /** Under which others send to this inbox. */
  readonly id: string;
  /** Called whenever a connection was made over which messages are received. */
  onopen: ((transport: Transport) => void) | undefined;
  /** Called when messages are not received at the moment. It goes on trying. */
  onaway: ((error: InboxError) => void) | undefined;

  /** @internal */
  readonly server: Server;
  readonly #receiver: Receiver;
  readonly #send: ReturnType<typeof createSend>;

  /** @param url the address of the server's `/inbox`; in a page it can be relative */
  constructor(url: string | URL, { id, password, storage, transports }: InboxOptions) {
    // Basic would take what follows for the password.
    if (id.includes(":")) throw new InboxError("bad-credentials", 400, "An id has no colon.");
    // To be told of, and not taken for the name of a host.
    const address = new URL(`${url}`.replace(/^(?=\/\/[^/]*$)/, "/."), globalThis.document?.baseURI ?? globalThis.location?.href);
    address.username = address.password = address.hash = "";
    this.id = id;
    if (!/^http/.test(address.protocol)) throw new InboxError("not-inbox", 0, `The address of the inbox begins with ${address.protocol}, not with http: or https:.`);
    const server: Server = { url: address, id, password, place: placeOf(`${address.href} ${id}`), due: new Set(), closes: 0 };
    this.server = server;
    this.#receiver = createReceiver(this, server, transports, storage);
    this.#send = createSend(this.#receiver);
  }

  /** How messages are received at the moment, if they are. */
  get transport(): Transport | undefined {
    return this.#receiver.transport;
  }

  /**
   * Sends a string, bytes, or anything else as JSON. Tries again for 30 seconds
   * as long as that can help, and is enqueued once all the same. Sends to one
   * recipient keep their order.
   *
   * @returns when the message is in the recipient's inbox
   * @throws {@link InboxError}: `no-such-inbox` if there is no recipient (but see
   *   {@link SendOptions.wait}), and whatever trying again did not help
   */
  async send(to: string, data: unknown, options: SendOptions = {}): Promise<void> {
    return this.#send(to, data, options);
  }

  /**
   * Receives until the signal is aborted. A message is acknowledged when the loop
   * comes round; one that was not handled to its end is received again, by the
   * next loop. Connections are made, chosen and mended by themselves.
   *
   * Messages that no loop wants while another one runs are kept for one that does,
   * the last 100, in memory.
   *
   * @throws {@link InboxError} when it makes no sense to go on: `replaced` if
   *   somebody else (another tab) receives with this id, `unauthorized` if it
   *   has another password, `closed` if it was closed elsewhere
   */
  messages(options: MessagesOptions = {}): AsyncGenerator<Message, void, void> {
    return this.#receiver.messages(options);
  }

  /**
   * Closes the inbox on the server, with all that it holds, and ends the loops over it,
   * with `closed`. What was sent before is let through first, and another object for the
   * same inbox in this page waits until it is closed. In a handler of `pagehide` it is
   * closed at once, by a request that outlives the page.
   */
  async close({ signal }: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    const { place } = this.server;
    const closing = this.#receiver.close(signal);
    const done = closing.catch(() => {}).then(() => {
      if (place.closing === done) delete place.closing;
    });
    place.closing = done;
    return closing;
  }
}
