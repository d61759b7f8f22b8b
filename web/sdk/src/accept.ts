import { callsOf } from "./calls.js";
import type { ConnectOptions, Connection } from "./connect.js";
import type { Inbox } from "./messaging.js";
import { pause } from "./wait.js";

/** Options of {@link accept}. Those that are not `signal` apply to every call of the loop. */
export interface AcceptOptions extends Omit<ConnectOptions, "wait"> {
  /** Ends the loop. Calls continue. */
  signal?: AbortSignal | undefined;
}

/** An incoming call. It rings for up to a minute. */
export interface Call {
  /** The caller's id. */
  readonly from: string;
  /** Aborted when the call is over, also while it rings. Its reason is the {@link CallError}. */
  readonly signal: AbortSignal;
  /**
   * Answers the call. The options override those of the loop.
   *
   * @returns the connection, once it is connected
   * @throws {@link CallError} and {@link InboxError} as {@link connect} does
   */
  accept(options?: Omit<ConnectOptions, "wait">): Promise<Connection>;
  /** Declines the call. The caller's error has the code `rejected` and the reason. */
  reject(reason?: string): void;
}

/**
 * Receives calls until the signal is aborted. Several loops over one inbox share its calls.
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
