import { InboxError } from "./errors.js";
import type { Message, RoomEvent } from "./message.js";
import { createReceiver, type CursorStorage, type MessagesOptions, type Receiver, type Transport } from "./receive.js";
import { requestText, sharedBy, type Server } from "./request.js";
import { createSend, type SendOptions } from "./send.js";

export { InboxError, type InboxErrorCode } from "./errors.js";
export { randomId, randomPassword } from "./ids.js";
export type { Message } from "./message.js";
export type { CursorStorage, MessagesOptions, Transport } from "./receive.js";
export type { SendOptions } from "./send.js";

/** Options of the {@link Inbox} constructor. */
export interface InboxOptions {
  /**
   * The id that others send to: at most 512 bytes in UTF-8, without `:`, control
   * characters, and white space at either end. {@link randomId} creates one that cannot
   * be guessed.
   */
  id: string;
  /**
   * Protects the inbox: at most 256 bytes in UTF-8. The first client that uses an id sets its
   * password, which lasts as long as the inbox.
   */
  password: string;
  /**
   * Stores the cursor, so that a reloaded page continues where it was: usually
   * `sessionStorage`. The page has to keep the id and the password itself. By default
   * nothing is stored.
   */
  storage?: CursorStorage | undefined;
  /** The transports to try, in this order. The default is `["socket", "stream", "poll"]`. */
  transports?: readonly Transport[] | undefined;
}

/**
 * One peer's inbox on a server. The constructor makes no request: the inbox opens with
 * the first {@link Inbox.send} or the first loop over {@link Inbox.messages}. It expires,
 * with the messages in it, 60 seconds after its owner stopped receiving, unless the
 * server is configured otherwise.
 *
 * @example
 * const inbox = new Inbox("https://example.com/inbox", { id: randomId(), password: randomPassword() });
 * await inbox.send("bob", { hello: "Bob" });
 * for await (const message of inbox.messages()) console.log(message.from, message.data);
 */
export class Inbox {
  /** The id that others send to. */
  readonly id: string;
  /** Called whenever the inbox starts or resumes receiving, with the transport in use. */
  onopen: ((transport: Transport) => void) | undefined;
  /** Called when receiving is interrupted, with the reason. The inbox reconnects by itself. */
  onaway: ((error: InboxError) => void) | undefined;

  /**
   * Gets the changes of rooms. Without it they are only acknowledged.
   * @internal
   */
  onroom: ((event: RoomEvent) => void) | undefined;
  /** @internal */
  readonly server: Server;
  readonly #receiver: Receiver;
  readonly #send: ReturnType<typeof createSend>;

  /**
   * @param url the URL of the server's `/inbox`. In a page it can be relative.
   * @throws {@link InboxError} with `bad-credentials` if the id contains a `:`, and with
   *   `not-inbox` if the URL does not begin with `http:` or `https:`
   */
  constructor(url: string | URL, { id, password, storage, transports }: InboxOptions) {
    // Basic authentication would take the rest for the password.
    if (id.includes(":")) throw new InboxError("bad-credentials", 400, "The id has a colon.");
    // A URL such as //inbox would be read as the name of a host. With /. before it, the first request reports the //.
    const address = new URL(`${url}`.replace(/^(?=\/\/[^/]*$)/, "/."), globalThis.document?.baseURI ?? globalThis.location?.href);
    address.username = address.password = address.hash = "";
    this.id = id;
    if (!/^http/.test(address.protocol)) throw new InboxError("not-inbox", 0, `The inbox URL begins with ${address.protocol}, not http: or https:.`);
    const server: Server = { url: address, id, password, ask: requestText, shared: sharedBy(`${address.href} ${id}`), inFlight: new Set(), closeCount: 0 };
    this.server = server;
    this.#receiver = createReceiver(this, server, transports, storage);
    this.#send = createSend(this.#receiver);
  }

  /** The transport that receives at the moment, or `undefined` if none does. */
  get transport(): Transport | undefined {
    return this.#receiver.transport;
  }

  /**
   * Sends a message: a string or bytes as they are, anything else as JSON. It retries
   * for up to 30 seconds while that can help, and the recipient still gets the message
   * once. Messages to one recipient keep their order.
   *
   * @returns when the message is in the recipient's inbox
   * @throws {@link InboxError} with `no-such-inbox` if the recipient has no inbox (see
   *   {@link SendOptions.wait}), or with the reason of the last attempt; a `TypeError` if
   *   JSON cannot hold the value
   */
  async send(to: string, data: unknown, options: SendOptions = {}): Promise<void> {
    return this.#send(to, data, options);
  }

  /**
   * Receives messages until the signal is aborted. The inbox chooses the transport and
   * reconnects by itself.
   *
   * A message is acknowledged when the loop asks for the next one. If the loop ends
   * earlier, by `break` or an exception, the next loop receives the message again.
   *
   * Several loops can run at once (see {@link MessagesOptions.match}). The inbox keeps the
   * last 100 messages that no loop wants, in memory, for a later loop.
   *
   * @throws {@link InboxError} if receiving cannot continue: `replaced` if another tab
   *   or program receives with this id, `unauthorized` if the inbox has another
   *   password, `closed` if it was closed, and other codes that a retry cannot help
   */
  messages(options: MessagesOptions = {}): AsyncGenerator<Message, void, void> {
    return this.#receiver.messages(options);
  }

  /**
   * Closes the inbox on the server, which deletes the messages in it, and ends the loops over it
   * with `closed`. Sends that began earlier finish first. Another `Inbox` object for the same
   * inbox in this page waits for it. In a handler of `pagehide`, the request goes out
   * immediately and outlives the page.
   *
   * @throws {@link InboxError} if the server did not confirm it. The inbox then expires by
   *   itself.
   */
  async close({ signal }: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    const { shared } = this.server;
    const closing = this.#receiver.close(signal);
    const done = closing.catch(() => {}).then(() => {
      if (shared.closing === done) delete shared.closing;
    });
    shared.closing = done;
    return closing;
  }
}
