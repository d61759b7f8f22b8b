import { fromBase64 } from "./base64.js";

/**
 * A message as the server gives it.
 * @internal
 */
export interface WireMessage {
  cursor: string;
  from: string;
  time: string;
  body?: string;
  body64?: string;
}

/** A message from another peer. Anybody can have sent anything. */
export interface Message {
  /** The sender's id, as the server has checked it. */
  readonly from: string;
  /** When the server accepted the message. */
  readonly time: Date;
  /** Names this message: one that is received twice has the same cursor. */
  readonly cursor: string;
  /** The body as text, if it is UTF-8. */
  readonly text: string | undefined;
  /** The body as it was sent. */
  readonly bytes: Uint8Array;
  /** The body read as JSON, if it is JSON. */
  readonly data: unknown;
}

/** @internal */
export function readMessage({ from, time, cursor, body, body64 }: WireMessage): Message {
  return {
    from,
    time: new Date(time),
    cursor,
    text: body,
    get bytes() {
      return body === undefined ? fromBase64(body64!) : new TextEncoder().encode(body);
    },
    get data(): unknown {
      try {
        return JSON.parse(body!);
      } catch {
        return undefined;
      }
    },
  };
}
