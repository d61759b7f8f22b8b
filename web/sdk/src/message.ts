import { fromBase64, toBytes } from "./base64.js";

/**
 * A message in the server's JSON. It has a `body` if the body is UTF-8, else a `body64`.
 * @internal
 */
export interface WireMessage {
  cursor: string;
  from: string;
  time: string;
  body?: string;
  body64?: string;
  /** In place of the sender and the body: a change of a room. */
  room?: RoomEvent;
}

/**
 * A change of a room.
 * @internal
 */
export interface RoomEvent {
  readonly name: string;
  readonly event: string;
  /** Who joined or left, unless `members` lists the members. */
  readonly peer: string;
  readonly members: string[];
}

/** A received message. The server has verified the sender, but not the body: validate it before use. */
export interface Message {
  /** The sender's id. The server has checked the sender's password. */
  readonly from: string;
  /** When the server accepted the message. */
  readonly time: Date;
  /** Identifies this message: if it is received again, it has the same cursor. */
  readonly cursor: string;
  /** The body as text, or `undefined` if it is not UTF-8. */
  readonly text: string | undefined;
  /** The body as bytes, exactly as it was sent. Each access makes a copy. */
  readonly bytes: Uint8Array;
  /** The body parsed as JSON, or `undefined` if it is not JSON. Each access parses it. */
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
      return toBytes(body ?? fromBase64(body64!));
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
