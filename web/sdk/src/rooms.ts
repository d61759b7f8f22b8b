import { accept, connect, type Call, type CallError, type Connection, type ConnectOptions, type Inbox, type InboxError, type SendOptions } from "./inbox.js";
import type { RoomEvent } from "./message.js";

/** How many calls a room makes at the same time, and how many it answers. */
const MAX_OPENING = 4;
/** How many times {@link join} and {@link Room.leave} retry: for about half a minute. */
const MAX_RETRIES = 5;
/** The first pause before calling a peer again, in milliseconds. It doubles with each failure. */
const FIRST_PAUSE = 1000;
/** Bounds that pause, in milliseconds. */
const LONGEST_PAUSE = 30_000;
/** How long a peer has to call before this side does it, in milliseconds. */
const PATIENCE = 12_000;
/** How long the members that an answer lists stay current, in milliseconds. */
const CURRENT_FOR = 1000;
/** Bounds the events that wait for the answer to a join. */
const MAX_MISSED = 256;

/** Options of {@link join}. Those of {@link inbox!ConnectOptions} apply to each connection of the room. */
export interface RoomOptions extends Omit<ConnectOptions, "signal" | "wait" | "setup"> {
  /**
   * Makes a name that others can guess safe: only peers who know the name and the secret
   * enter the room. The server sees a hash of both. It needs a page that came over `https:`
   * or from `localhost`.
   */
  secret?: string | undefined;
  /** Leaves the room when it is aborted. */
  signal?: AbortSignal | undefined;
  /**
   * Whether to connect to the other members. The default is `true`. Without connections,
   * {@link Room.peers} reports who joins and leaves. All members should choose the same.
   */
  connect?: boolean | undefined;
  /**
   * Called with each new connection, and the peer's id, before the first signal. Use it to add
   * the tracks and data channels that the connection starts with, and to listen for those of
   * the other side. It runs on both sides, and once more whenever the room connects to a peer
   * again. If it throws or rejects, the connection fails with `setup-failed`.
   */
  setup?: ((pc: RTCPeerConnection, peer: string) => void | Promise<void>) | undefined;
}

/** What {@link Room.peers} reports. Its `state` decides which of the other properties are there. */
export type PeerChange = PeerPresence | PeerConnected | PeerFailed;

/** A peer has no connection. */
export interface PeerPresence {
  /** The peer's id. */
  readonly peer: string;
  /**
   * - `joined`: the peer is a member, in a room without connections
   * - `connecting`: the peer is a member, and the room connects to it
   * - `left`: the peer has left the room, or its inbox has expired
   */
  readonly state: "joined" | "connecting" | "left";
  /** Absent. */
  readonly pc?: undefined;
  /** Absent. */
  readonly error?: undefined;
}

/** The room has connected to a peer. */
export interface PeerConnected {
  /** The peer's id. */
  readonly peer: string;
  /** Always this. */
  readonly state: "connected";
  /** The connection. To replace it, close it: the room connects to the peer again. */
  readonly pc: Connection;
  /** Absent. */
  readonly error?: undefined;
}

/** A connection has ended or could not be made. The room connects to the peer again after a pause. */
export interface PeerFailed {
  /** The peer's id. */
  readonly peer: string;
  /** Always this. */
  readonly state: "failed";
  /** Absent. */
  readonly pc?: undefined;
  /** The reason. */
  readonly error: CallError | InboxError;
}

/** A room that this inbox is in. {@link join} creates it. */
export interface Room {
  /** The name of the room on the server: the given name, or the hash of name and secret. */
  readonly id: string;
  /** The ids of all members, this one included, in the order in which they joined. */
  readonly members: readonly string[];
  /**
   * Reports the state of every other member, and then each change, until the room is left.
   * A slow loop gets the latest state of each peer. Several loops can
   * run at once, and each gets everything.
   *
   * @throws {@link inbox!InboxError} if the inbox cannot stay in the room: `replaced` if another tab
   *   receives with this id, `room-full` if others took its place while the server could not be
   *   reached, and other codes that a retry cannot help
   */
  peers(): AsyncGenerator<PeerChange, void, void>;
  /**
   * Sends a message to all other members, as {@link inbox!Inbox.send} does to one. They receive it
   * with {@link inbox!Inbox.messages}.
   *
   * @returns when it is in the inboxes of all members that still have one
   * @throws {@link inbox!InboxError} with the first reason, after the message was sent to all others
   */
  send(data: unknown, options?: SendOptions): Promise<void>;
  /**
   * Leaves the room: closes its connections and ends the loops over {@link Room.peers}. The
   * inbox stays open. Closing the inbox leaves all of its rooms.
   *
   * @throws {@link inbox!InboxError} if the server did not confirm it within about half a minute. The
   *   membership then lasts as long as the inbox.
   */
  leave(): Promise<void>;
}

/** Another member. */
interface Peer {
  readonly id: string;
  /** Whether this side calls, because it joined later. */
  readonly mine: boolean;
  change: PeerChange;
  /** What to do as soon as few enough connections are being opened: answer this call, or call the peer. */
  next?: Call | true | undefined;
  /** Ends the current call. */
  ends: AbortController;
  /** How many calls have failed, one after the other. */
  tries: number;
  timer?: number;
}

/** A loop over changes. */
interface Reader {
  /** The peers whose latest change the loop has not seen, and those that it has seen before. */
  readonly news: Set<Peer>;
  readonly known: WeakSet<Peer>;
  wake(): void;
}

/** A room with what applications do not see. */
interface OwnRoom extends Room {
  handle(event: RoomEvent): void;
}

/** The rooms that each inbox is in, by their ids. */
const all = new WeakMap<Inbox, Map<string, OwnRoom>>();

/**
 * Joins a room and connects to all of its members. Everyone who knows the name can enter, so
 * the name should be hard to guess, or have a {@link RoomOptions.secret}.
 *
 * A peer calls those who were in the room when it joined, at most four at the same time. A
 * connection that ends is made again after a pause. After an interruption in which the server
 * forgot the inbox, the room is joined again, and connections that still work are kept. If the
 * inbox is in the room already, it leaves the room first.
 *
 * @param inbox an inbox from the same copy of the SDK. An inbox can be in several rooms.
 * @param name at most 512 bytes in UTF-8, without `:`, control characters, and white space at
 *   either end
 * @throws {@link inbox!InboxError} with `room-full`, `too-many-rooms` or `bad-request`; with
 *   the reason of the last attempt if the server cannot be reached for half a minute. An `Error`
 *   if there is a secret and the page came over plain `http:`
 *
 * @example
 * const room = await join(inbox, "standup", { setup: (pc) => stream.getTracks().forEach((track) => pc.addTrack(track, stream)) });
 * for await (const { peer, state, pc } of room.peers()) {
 *   if (state === "connected") show(peer, pc);
 *   if (state === "left") hide(peer);
 * }
 */
export async function join(inbox: Inbox, name: string, options: RoomOptions = {}): Promise<Room> {
  const { secret, signal, setup, connect: connects = true } = options;
  const { server } = inbox;
  const id = secret === undefined ? name : await hash(name, secret);
  const rooms = all.get(inbox) ?? new Map<string, OwnRoom>();
  all.set(inbox, rooms);
  inbox.onroom = (event) => rooms.get(event.name)?.handle(event);
  for (let former; (former = rooms.get(id)); ) await former.leave().catch(() => {});
  signal?.throwIfAborted();

  const ends = new AbortController();
  const over = ends.signal;
  const peers = new Map<string, Peer>();
  const readers = new Set<Reader>();
  let members: readonly string[] = [];
  let failure: InboxError | undefined;
  let joined = false;
  /** The last join, and until when its answer is current. */
  let joining = Promise.resolve();
  let current = 0;
  let leaving: Promise<unknown> | undefined;
  /** The events that arrived while the server answered a join. */
  let missed: RoomEvent[] = [];
  /** Ends the pause before the next attempt to join or leave. */
  let wakeRetry = (): void => {};
  /** How many calls are being made, and how many are being answered. */
  const opening = [0, 0];

  /** The inbox as its calls see it. Their signals carry the room, so that other calls do not mix with them. */
  const scoped = {
    server,
    send: (to: string, signal: unknown, options: SendOptions) => inbox.send(to, { room: id, signal }, options),
    async *messages({ match, onreset, ...more }: Parameters<Inbox["messages"]>[0] & object) {
      const unwrap = ({ from, data }: { from: string; data: any }): any => ({ from, data: data?.room === id ? data.signal : undefined });
      const loop = inbox.messages({ ...more, match: (message) => match!(unwrap(message)), onreset: () => {
        void enter(true);
        onreset!();
      } });
      for await (const message of loop) yield unwrap(message);
    },
  } as unknown as Inbox;

  /** Joins, or joins again. The answer repairs the list of members. Unless forced, a recent answer suffices. */
  const enter = (force?: boolean): Promise<void> => {
    if (force || Date.now() > current) {
      current = Infinity;
      wakeRetry();
      joining = joining.then(() => retry(true)).then(({ content }) => {
        over.throwIfAborted();
        replace(JSON.parse(content).members);
        joined = true;
        missed.forEach(apply);
        current = Date.now() + CURRENT_FOR;
      }).catch(end);
    }
    return joining;
  };

  const request = (put: boolean): Promise<{ content: string }> => {
    return server.ask(server, { room: id }, { method: put ? "PUT" : "DELETE", success: /^20(0 .*json|4)/, keepalive: true });
  };

  /** Joins or leaves, and retries while that can help. */
  const retry = async (put: boolean): Promise<{ content: string }> => {
    for (let tries = 0; ; tries++) {
      missed = [];
      try {
        await (put && server.shared.closing); // closing waits for a leave
        if (put) over.throwIfAborted();
        return await request(put);
      } catch (thrown) {
        const error = thrown as InboxError;
        // Once the room was joined, a strange answer is a passing problem.
        if (!(error.passes || (joined && error.code === "not-inbox")) || (tries === MAX_RETRIES && !joined)) throw error;
        await new Promise<void>((resolve) => {
          wakeRetry = resolve;
          setTimeout(resolve, jitter(FIRST_PAUSE * 2 ** tries) + (error.retryAfter ?? 0));
        });
      }
    }
  };

  const end = (error?: InboxError): void => {
    if (over.aborted) return;
    if (error) rooms.delete(id);
    failure = error;
    joined = false;
    ends.abort();
    wakeRetry();
    for (const peer of peers.values()) stop(peer);
    peers.clear();
    for (const { wake } of readers) wake();
  };

  const apply = ({ event, peer, members: list }: RoomEvent): void => {
    const others = members.filter((member) => member !== peer);
    if (event === "joined") {
      members = [...others, peer];
      add(peer, false);
    } else if (event === "members") {
      replace(list);
      if (!list.includes(inbox.id)) void enter(true);
    } else if (/left|expired/.test(event)) {
      members = others;
      remove(peer);
    }
  };

  /**
   * Takes over a list of members. A peer that the list lacks has left, unless it is connected:
   * then the server has lost the room, and the peer is about to join again.
   */
  const replace = (list: string[]): void => {
    members = list;
    // A page that was reloaded can be an early member. The others do not know that they have to call it.
    list.forEach((peer, at) => add(peer, !joined || at < list.indexOf(inbox.id)));
    for (const [id, { change }] of peers) if (!change.pc && !list.includes(id)) remove(id);
  };

  const add = (id: string, mine: boolean): void => {
    if (id === inbox.id || peers.has(id)) return;
    const peer: Peer = { id, mine, change: undefined!, ends: new AbortController(), tries: 0 };
    peers.set(id, peer);
    report(peer, connects ? "connecting" : "joined");
    if (connects) expect(peer, mine ? 0 : PATIENCE);
  };

  const remove = (id: string): void => {
    const peer = peers.get(id);
    if (!peer) return;
    peers.delete(id);
    stop(peer);
    report(peer, "left");
  };

  const stop = ({ timer, ends }: Peer): void => {
    clearTimeout(timer);
    ends.abort();
  };

  const report = (peer: Peer, state: PeerChange["state"], more?: object): void => {
    peer.change = { peer: peer.id, state, ...more } as PeerChange;
    for (const { news, known, wake } of readers) {
      // A loop does not report a peer that left before the loop has reported it.
      news[state !== "left" || known.has(peer) ? "add" : "delete"](peer);
      wake();
    }
  };

  /** Calls a peer after about ms milliseconds, unless it calls first. */
  const expect = (peer: Peer, ms: number): void => {
    const { ends } = peer;
    peer.timer = setTimeout(async () => {
      // Joining again shows whether both are still members.
      if (ms) await enter();
      if (peer.ends === ends) peer.next ??= true;
      openNext();
    }, jitter(ms));
  };

  const ring = (call: Call): void => {
    const peer = peers.get(call.from);
    if (!peer || !connects) return call.reject();
    // The peer knows best whether it needs another connection: its page may have been reloaded.
    stop(peer);
    peer.next = call;
    openNext();
  };

  const openNext = (): void => {
    for (const peer of peers.values()) {
      const kind = peer.next === true ? 0 : 1;
      if (!peer.next || opening[kind]! >= MAX_OPENING) continue;
      opening[kind]!++;
      void open(peer).then(() => {
        opening[kind]!--;
        openNext();
      });
    }
  };

  /** Opens a connection. It settles when the peer is connected or the attempt has ended. */
  const open = async (peer: Peer): Promise<void> => {
    const { id, next } = peer;
    const { signal } = (peer.ends = new AbortController());
    const lost = (error: unknown): void => {
      if (signal.aborted) return;
      report(peer, "failed", { error });
      if (!members.includes(id)) return remove(id);
      expect(peer, peer.mine ? FIRST_PAUSE * 2 ** peer.tries++ : PATIENCE);
    };
    peer.next = undefined;
    if (peer.change.state !== "connecting") report(peer, "connecting");
    try {
      const own: ConnectOptions = { ...options, signal, setup: (pc) => setup?.(pc, id) };
      const pc = await (next === true ? connect(scoped, id, own) : next!.accept(own));
      signal.addEventListener("abort", () => pc.close());
      if (signal.aborted) return pc.close();
      peer.tries = 0;
      report(peer, "connected", { pc });
      void pc.ended.then(lost);
    } catch (error) {
      lost(error);
    }
  };

  const page: Partial<EventTarget> = globalThis;
  // A page that returns from the browser's cache joins again when it repairs its connections.
  page.addEventListener?.("pagehide", () => request(false).catch(() => {}), { signal: over });
  signal?.addEventListener("abort", () => room.leave().catch(() => {}), { signal: over });

  const room: OwnRoom = {
    id,
    get members() {
      return members;
    },

    async *peers() {
      const reader: Reader = { news: new Set(peers.values()), known: new WeakSet(), wake() {} };
      readers.add(reader);
      try {
        while (!over.aborted) {
          const [peer] = reader.news;
          if (peer) {
            reader.news.delete(peer);
            reader.known.add(peer);
            yield peer.change;
          } else await new Promise<void>((resolve) => (reader.wake = resolve));
        }
        if (failure && failure.code !== "closed") throw failure;
      } finally {
        readers.delete(reader);
      }
    },

    async send(data, options) {
      await Promise.all(members.map((to) => to === inbox.id || inbox.send(to, data, options).catch((error) => {
        if (error.code !== "no-such-inbox") throw error;
      })));
    },

    async leave() {
      end();
      if (rooms.get(id) !== room) return;
      // A join that is on its way must not arrive after the request to leave.
      leaving ??= joining.then(() => retry(false)).finally(() => {
        rooms.delete(id);
        server.inFlight.delete(leaving!);
      });
      // Closing the inbox waits for it.
      server.inFlight.add(leaving);
      await leaving;
    },

    handle(event) {
      if (missed.push(event) > MAX_MISSED) missed.shift();
      if (joined) apply(event);
    },
  };
  rooms.set(id, room);

  void (async () => {
    for await (const call of accept(scoped, { signal: over })) {
      if (!peers.has(call.from)) await enter();
      ring(call);
    }
  })().catch(end);
  await enter();
  signal?.throwIfAborted();
  if (failure) throw failure;
  return room;
}

/** Varies a pause, so that peers which lost each other together do not return together. */
function jitter(ms: number): number {
  return Math.min(ms, LONGEST_PAUSE) * (0.5 + Math.random());
}

/** Hashes a name and a secret as the protocol defines it, so that other clients enter the same room. */
async function hash(name: string, secret: string): Promise<string> {
  if (!crypto.subtle) throw new Error("A secret needs https:.");
  const sum = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(`${new Blob([secret]).size}:${secret}${name}`));
  return btoa(String.fromCharCode(...new Uint8Array(sum))).replace(/\+/g, "-").replace(/\//g, "_").slice(0, -1);
}
