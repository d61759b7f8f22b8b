import type { Server } from "./request.js";
import type { WireMessage } from "./message.js";

/** What is sent, as it was when it was given. */
export type Body = string | Uint8Array<ArrayBuffer>;

/** What a transport sees of the receiver that it works for. */
export interface Link {
  readonly server: Server;

  /** Everything up to this cursor was acknowledged by its reader. Whoever reads it tells the server. */
  position(): string;
  /** Tells the server the position by a request, if it does not know it. */
  tell(signal?: AbortSignal): void;
  /** Whether there are messages that were not acknowledged by their readers. */
  busy(): boolean;

  /**
   * The server answers, for the first time or once more.
   * @param cursor where the inbox stands, before the messages that follow
   * @param reset whether our position was of an earlier life of the inbox
   */
  opened(cursor?: string | null, reset?: boolean): void;
  /** A message arrived, perhaps not for the first time. */
  take(message: WireMessage): void;

  // What a transport sets while it works:

  /** Called when position() has moved. */
  onmove?: (() => void) | undefined;
  /** Sends a text or bytes over the connection, unless it is too much for one. */
  send?: ((to: string, body: Body, key: string) => Promise<void> | undefined) | undefined;
}
