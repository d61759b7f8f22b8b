import { CallError, nothingTried } from "./call-error.js";
import { callsOf } from "./calls.js";
import type { InboxError } from "./errors.js";
import type { Inbox } from "./messaging.js";
import { pause } from "./wait.js";

/** A connection to a peer, and what has become of it. */
export interface Connection extends RTCPeerConnection {
  /**
   * Resolves when the call is over, with why; it never rejects. `code` is
   *
   * - `closed`: this side called `close()`, or its page is left
   * - `ended`: the other side did so
   * - `ice-failed`: what was interrupted was not mended for a minute. If this side
   *   did not receive any more, and so could not mend it, `cause` is the
   *   {@link InboxError}: `replaced`, `unauthorized` or `closed`
   */
  readonly ended: Promise<CallError>;
}

/** How a connection is to be made. */
export interface ConnectOptions {
  /** Gives up, as long as there is no connection. */
  signal?: AbortSignal | undefined;
  /** How many milliseconds an answer may take, and from then on the connection. 30,000, if nothing is given. */
  timeout?: number | undefined;
  /** How many milliseconds to wait for a peer who does not receive yet. */
  wait?: number | undefined;
  /**
   * STUN and TURN servers, or a function that fetches them. If nothing is given, here or in
   * `configuration`, the inbox server is asked for its own; `[]` means none.
   */
  iceServers?: RTCIceServer[] | (() => RTCIceServer[] | Promise<RTCIceServer[]>) | undefined;
  /** Whatever else the connection is to be made with. `bundlePolicy` is `max-bundle`, if nothing is given. */
  configuration?: RTCConfiguration | undefined;
  /**
   * Whether to report to the server how the call went, in a few fixed words without an id
   * or an address. The one who calls reports. Yes, if nothing is given.
   */
  outcomes?: boolean | undefined;
  /**
   * Called with the connection before anything is said to the other side: adds
   * the tracks and data channels that are to be there from the start, and listens
   * for those of the other side.
   */
  setup?: ((pc: RTCPeerConnection) => void | Promise<void>) | undefined;
  /**
   * Called when a change to the connection came to nothing, once for each: the
   * connection goes on as it was. An {@link InboxError} says why the server refused a
   * signal, as `too-large`; a {@link CallError} that one of the browsers did not take
   * the change. Without it, the error goes to the console.
   */
  onerror?: ((error: InboxError | CallError) => void) | undefined;
}

/**
 * Connects to a peer who accepts calls, or who calls at the same time.
 *
 * Tracks and data channels can be added in {@link ConnectOptions.setup}, and at
 * any time later. A connection that is interrupted is mended, as long as this
 * page receives; one that cannot be mended, and one that the other side ends, is
 * closed: `connectionState` is `closed` then, `connectionstatechange` tells, and
 * {@link Connection.ended} says why. `pc.close()` also says so to the other side.
 *
 * @returns the connection, once it is connected
 * @throws {@link CallError} if there is no such peer, no answer, or no path, and for
 *   whatever fails on this side; {@link InboxError} if the server cannot be used
 *
 * @example
 * const pc = await connect(inbox, "bob", { iceServers: [{ urls: "stun:stun.example.com" }] });
 * pc.createDataChannel("chat").onopen = ({ target }) => target.send("hello");
 * const { code } = await pc.ended;
 */
export async function connect(inbox: Inbox, peer: string, options: ConnectOptions = {}): Promise<Connection> {
  const { signal, setup } = options;
  if (peer === inbox.id) throw new CallError("own-id", nothingTried());
  const calls = callsOf(inbox);
  for (;;) {
    signal?.throwIfAborted();
    const other = calls.pending(peer);
    if (!other?.started) return (other ?? calls.create(peer)).start(options);
    await pause(Infinity, signal, (wake) => void other.connected.then(wake, wake));
    signal?.throwIfAborted();
    // They called, and were answered just before.
    if (other.polite && other.worked) {
      const pc = await other.connected;
      try {
        await setup?.(pc);
      } catch (error) {
        throw new CallError("setup-failed", nothingTried(), undefined, error);
      }
      return pc;
    }
  }
}
