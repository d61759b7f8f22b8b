import type { Tried } from "./call-error.js";
import type { Message } from "./message.js";

/** A signal: what two peers send each other about a call, as JSON. */
export interface Signal {
  /** Identifies the call of two peers. The caller chooses it at random. */
  readonly session: string;
  readonly type: "offer" | "answer" | "candidates" | "bye";
  /** The number of an offer. Each side numbers its own from 1; an answer repeats the number of its offer. */
  readonly n?: number;
  readonly sdp?: string;
  /** In an answer: the answerer's own session, if both called at once and this call replaces it. */
  readonly replaces?: string | undefined;
  /** As the browser produces them. One with an empty text marks the end of candidates. */
  readonly candidates?: RTCIceCandidateInit[];
  /** In a bye: why the sender ended the call. In an answer: why it refuses the offer. */
  readonly why?: string;
  readonly reason?: string | undefined;
}

/** Sends a signal of a call. The call adds its session. */
export type SendSignal = (signal: Omit<Signal, "session">) => Promise<void>;

const TYPES: unknown[] = ["offer", "answer", "candidates", "bye"];

/** Reports whether a message is a signal. It checks only what routes the signal to its call. */
export function isSignal({ data }: Message): boolean {
  const { session, replaces, type } = (data ?? {}) as Partial<Signal>;
  return isSession(session) && (replaces === undefined || isSession(replaces)) && TYPES.includes(type);
}

function isSession(text: unknown): boolean {
  return typeof text === "string" && text.length < 65;
}

/** Records the candidate types (RFC 8839, section 5.1) that occur in a candidate or a description. */
export function noteCandidates(tried: Tried, side: "local" | "remote", text = ""): void {
  for (const [, type] of text.matchAll(/ typ (host|srflx|prflx|relay)/g)) if (!tried[side].includes(type!)) tried[side].push(type!);
}
