import { CallError } from "./call-error.js";
import { callsOf } from "./calls.js";
import type { InboxError } from "./errors.js";
import type { Inbox } from "./messaging.js";
import { pause } from "./wait.js";

/** A connection to a peer. */
export interface Connection extends RTCPeerConnection {
  /**
   * Resolves with the reason when the call is over. It never rejects. The `code` is
   *
   * - `closed`: this side called `close()`, or its page was left
   * - `ended`: the other side did so
   * - `ice-failed`: the connection was lost and did not recover within a minute. If it
   *   could not recover because this inbox no longer received, `cause` is the
   *   {@link InboxError}: `replaced`, `unauthorized` or `closed`
   */
  readonly ended: Promise<CallError>;
}

/** Options of {@link connect} and {@link Call.accept}. */
export interface ConnectOptions {
  /** Aborts the attempt to connect. It does not affect an established connection. */
  signal?: AbortSignal | undefined;
  /** How many milliseconds the answer may take, and after it the connection. The default is 30,000 for each. */
  timeout?: number | undefined;
  /** How many milliseconds to wait for a peer who has no inbox yet. The default is 0. */
  wait?: number | undefined;
  /**
   * STUN and TURN servers, or a function that returns them, which is called again before
   * ICE restarts. By default the SDK uses those of `configuration`, or else those that the
   * inbox server offers. `[]` means none.
   */
  iceServers?: RTCIceServer[] | (() => RTCIceServer[] | Promise<RTCIceServer[]>) | undefined;
  /** Further settings for `RTCPeerConnection`. The default for `bundlePolicy` is `max-bundle`. */
  configuration?: RTCConfiguration | undefined;
  /**
   * Whether the caller reports to the server how the call went, in a few fixed words
   * without an id or an address. The default is `true`.
   */
  outcomes?: boolean | undefined;
  /**
   * Called with the new connection before the first signal. Use it to add the tracks and data
   * channels that the call starts with, and to listen for those of the other side. If it
   * throws or rejects, the call fails with `setup-failed`.
   */
  setup?: ((pc: RTCPeerConnection) => void | Promise<void>) | undefined;
  /**
   * Called once for each change to the connection that fails, such as a new track. The
   * connection stays as it was. The error is an {@link InboxError} if the server refused a
   * signal, for example with `too-large`, and a {@link CallError} if one of the browsers
   * refused the change. By default the error is logged with `console.error`.
   */
  onerror?: ((error: InboxError | CallError) => void) | undefined;
}

/**
 * Calls a peer and connects to it. The peer has to run {@link accept}, or call at the same
 * time: then both get the same connection.
 *
 * Add tracks and data channels in {@link ConnectOptions.setup}, or at any time later. The
 * SDK negotiates changes, and restarts ICE when the network changes or fails. It closes
 * the connection when the other side ends the call, or after a minute without recovery:
 * `connectionState` becomes `closed`, `connectionstatechange` is fired, and
 * {@link Connection.ended} resolves. Calling `pc.close()` ends the call on both sides.
 *
 * @returns the connection, once it is connected
 * @throws {@link CallError} if the peer is absent, does not answer or declines, if ICE finds no
 *   path, or if this side fails; {@link InboxError} if the inbox server cannot be used
 *
 * @example
 * const pc = await connect(inbox, "bob", { iceServers: [{ urls: "stun:stun.example.com" }] });
 * pc.createDataChannel("chat").onopen = ({ target }) => target.send("hello");
 * const { code } = await pc.ended;
 */
export async function connect(inbox: Inbox, peer: string, options: ConnectOptions = {}): Promise<Connection> {
  const { signal, setup } = options;
  if (peer === inbox.id) throw new CallError("own-id");
  const calls = callsOf(inbox);
  for (;;) {
    signal?.throwIfAborted();
    const other = calls.pending(peer);
    if (!other?.started) return (other ?? calls.create(peer)).start(options);
    await pause(Infinity, signal, (wake) => void other.connected.then(wake, wake));
    signal?.throwIfAborted();
    // The peer called, and this side had just accepted.
    if (other.polite && other.wasConnected) {
      const pc = await other.connected;
      try {
        await setup?.(pc);
      } catch (error) {
        throw new CallError("setup-failed", undefined, undefined, error);
      }
      return pc;
    }
  }
}
