/**
 * Codes of six letters, which people say aloud instead of sending a link.
 *
 * @module
 */

import type { Inbox } from "./messaging.js";

/** Options of {@link createCode}. */
export interface CodeOptions {
  /**
   * The room that the code leads to: its name on the server, which is `Room.id`. By default
   * the code leads to the inbox. The name of a room with a secret contains the secret, so
   * anyone who redeems the code can join without it.
   */
  room?: string | undefined;
  /** Aborts the request. The server may have created a code nevertheless. */
  signal?: AbortSignal | undefined;
}

/** A code that leads to an inbox or a room, once. */
export interface Code {
  /** Six capital letters, such as `KXTRBM`. */
  readonly code: string;
  /** How many milliseconds the code is valid, unless it is used before. */
  readonly validFor: number;
}

/** Where a code leads. */
export interface Invitation {
  /** The id of the inbox that created the code. */
  readonly id: string;
  /** The room that the code leads to, for `join`. It is absent if the code leads to the inbox. */
  readonly room?: string | undefined;
}

/**
 * Creates a code that leads to an inbox or a room. It works once, for ten minutes. Opens the
 * inbox if necessary, but does not keep it open: receive messages or calls while the code is
 * valid.
 *
 * @param inbox an inbox of `@inbox/sdk` or `@inbox/sdk/messaging`
 * @throws {@link inbox!InboxError} with `rate-limited` if this address creates too many codes;
 *   `retryAfter` is how long to wait. With `bad-request` if the name of the room breaks the
 *   rules, with `server-full`, or with the reason why the server could not be reached
 *
 * @example
 * const { code } = await createCode(inbox);
 * show(`Say ${code}`);
 */
export async function createCode(inbox: Inbox, { room, signal }: CodeOptions = {}): Promise<Code> {
  await inbox.server.shared.closing;
  const { code, seconds } = await post(inbox, { code: "", ...(room !== undefined && { room }) }, { signal });
  return { code, validFor: seconds * 1000 };
}

/**
 * Finds out where a code leads. The code then stops working.
 *
 * @param inbox an inbox on the same server; it is not opened
 * @param typed the code as a person has typed it: in either case, and with spaces or punctuation
 * @param options `signal` aborts the request. The code may be used up nevertheless
 * @throws {@link inbox!InboxError} with `bad-request` if the text cannot be a code, and with
 *   `no-such-code` if the code is wrong, was used or has expired. With `rate-limited` after three
 *   wrong codes within a minute; `retryAfter` is how long to wait. With the reason why the server
 *   could not be reached
 *
 * @example
 * const { id, room } = await redeemCode(inbox, "kxt rbm");
 * if (room) await join(inbox, room);
 * else await connect(inbox, id);
 */
export async function redeemCode(inbox: Inbox, typed: string, { signal }: { signal?: AbortSignal | undefined } = {}): Promise<Invitation> {
  // The server accepts 64 bytes. Seven letters suffice for it to see that there are too many.
  const body = [...typed.replace(/[\s\p{P}]/gu, "")].slice(0, 7).join("");
  return post(inbox, {}, { path: "code", body, signal });
}

async function post({ server }: Inbox, query: Record<string, string>, more: { path?: string; body?: string; signal: AbortSignal | undefined }): Promise<any> {
  // In lower case, because ask accepts no content in the answer to a POST: a send has none.
  // fetch sends both as POST.
  return JSON.parse((await server.ask(server, query, { ...more, method: "post", success: /^200 .*json/ })).content);
}
