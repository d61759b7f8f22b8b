import { callsOf } from "./calls.js";
import type { ConnectOptions, Connection } from "./connect.js";
import type { Inbox } from "./messaging.js";
import { pause } from "./wait.js";

/** What all calls of a loop have in common. */
export interface AcceptOptions extends Omit<ConnectOptions, "wait"> {
  /** Ends the loop, but no call. */
  signal?: AbortSignal | undefined;
}

/** Somebody calls. */
export interface Call {
  /** Who it is. */
  readonly from: string;
  /** Aborted when the call is over, also while it rings; its reason is the {@link CallError}. */
  readonly signal: AbortSignal;
  /**
   * Answers.
   * @returns the connection, once it is connected; see {@link connect}
   */
  accept(options?: Omit<ConnectOptions, "wait">): Promise<Connection>;
  /** Says no; the caller is told the reason. */
  reject(reason?: string): void;
}

/**
 * Waits for calls, until the signal is aborted.
 *
 * @throws {@link InboxError} as {@link Inbox.messages} does
 *
 * @example
 * for await (const call of accept(inbox)) {
 *   call.accept({ setup: (pc) => (pc.ondatachannel = ({ channel }) => hear(channel)) }).catch(console.error);
 * }
 */
export async function* accept(inbox: Inbox, options: AcceptOptions = {}): AsyncGenerator<Call, void, void> {
  const { signal } = options;
  const calls = callsOf(inbox);
  const release = calls.hold();
  try {
    while (!signal?.aborted) {
      const side = calls.ringing.shift();
      if (side) {
        if (side.started || side.over.aborted) continue;
        yield {
          from: side.peer,
          signal: side.over,
          accept: (own) => (side.started ? side.connected : side.start({ ...options, signal: undefined, ...own })),
          reject: (reason) => side.fail("rejected", reason),
        };
      } else if (calls.failure) {
        throw calls.failure;
      } else {
        await pause(Infinity, signal, (wake) => void calls.waiting.push(wake));
      }
    }
  } finally {
    release();
  }
}
