import type { Tried } from "./call-error.js";
import type { Message } from "./message.js";

/**
 * What two peers say to each other about a call, as JSON. A call is named by a
 * random session, chosen by the one who makes it.
 */
export interface Signal {
  readonly session: string;
  readonly type: "offer" | "answer" | "candidates" | "bye";
  /** Offers are numbered by the one who makes them, from 1 on; an answer has the number of its offer. */
  readonly n?: number;
  readonly sdp?: string;
  /** In an answer: the answerer's own call, which this one takes the place of, since both called at once. */
  readonly replaces?: string | undefined;
  /** As the browser gives them. One with an empty text ends them. */
  readonly candidates?: RTCIceCandidateInit[];
  /** In a bye: why the sender ended the call. In an answer: why there is none. */
  readonly why?: string;
  readonly reason?: string | undefined;
}

/** What is left to say once the call is named. */
export type Say = (signal: Omit<Signal, "session">) => Promise<void>;

const TYPES: unknown[] = ["offer", "answer", "candidates", "bye"];

/** Whether a message is about a call. What is not kept of it can still be wrong. */
export function isSignal({ data }: Message): boolean {
  const { session, replaces, type } = (data ?? {}) as Partial<Signal>;
  return isName(session) && (replaces === undefined || isName(replaces)) && TYPES.includes(type);
}

function isName(text: unknown): boolean {
  return typeof text === "string" && text.length < 65;
}

/** Notes a kind of candidate (RFC 8839, section 5.1), or those of a whole description. */
export function note(tried: Tried, side: "local" | "remote", text = ""): void {
  for (const [, kind] of text.matchAll(/ typ (host|srflx|prflx|relay)/g)) if (!tried[side].includes(kind!)) tried[side].push(kind!);
}
