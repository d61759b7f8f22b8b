import type { Server } from "./request.js";
import type { WireMessage } from "./message.js";

/** A message body, copied from what the caller passed. */
export type Body = string | Uint8Array<ArrayBuffer>;

/** A transport's view of the receiver that runs it. */
export interface Link {
  readonly server: Server;

  /** Returns the cursor up to which everything is acknowledged. The transport that reads it passes it to the server. */
  position(): string;
  /** Acknowledges up to the position by a request, unless the server knows the position already. */
  acknowledge(signal?: AbortSignal): void;
  /** Reports whether there are messages that no loop has finished with. */
  busy(): boolean;

  /**
   * Reports that the server answered, for the first time or again.
   * @param cursor the position of the inbox before the messages that follow
   * @param reset whether our position belongs to an earlier life of the inbox
   */
  opened(cursor?: string | null, reset?: boolean): void;
  /** Delivers a message. Delivering it twice is harmless. */
  deliver(message: WireMessage): void;

  // The transport sets these while it works:

  /** Called when position() has moved. */
  onmove?: (() => void) | undefined;
  /** Sends a body over the connection, or returns undefined if the body is too large for it. */
  send?: ((to: string, body: Body, key: string) => Promise<void> | undefined) | undefined;
}
