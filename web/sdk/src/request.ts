import { toBase64, toBytes } from "./base64.js";
import { InboxError, type InboxErrorCode } from "./errors.js";
import { withTimeout } from "./wait.js";

/** How long an answer may take, in milliseconds, unless the request is a long poll. */
export const ANSWER_TIMEOUT = 10_000;

/** Caps Retry-After, in milliseconds. */
const LONGEST_RETRY_AFTER = 300_000;

/** An inbox on a server, and the credentials for it. */
export interface Server {
  readonly url: URL;
  readonly id: string;
  readonly password: string;
  readonly shared: Shared;
  /** Makes a request, for the entry point of rooms. */
  readonly ask: typeof requestText;
  /** Requests that the server has not answered yet. */
  readonly inFlight: Set<Promise<unknown>>;
  /** How many times this object was closed. */
  closeCount: number;
}

/** State that all objects of this page for the same inbox share. */
interface Shared {
  /** Pending while the inbox is being closed. */
  closing?: Promise<unknown>;
  /** When this side last abandoned an attempt to receive. */
  abandonedAt: number;
  /** When the server next takes the outcome of a call. */
  nextReport?: number;
}

/** How many inboxes have shared state. It forgets the one that was used least recently. */
const MAX_SHARED = 100;
const allShared = new Map<string, Shared>();

export function sharedBy(name: string): Shared {
  const shared = allShared.get(name) ?? { abandonedAt: 0 };
  allShared.delete(name);
  allShared.set(name, shared);
  trim(allShared, MAX_SHARED);
  return shared;
}

/** Removes the oldest entry if there are more than `most`. */
export function trim<T>(all: Set<T> | Map<T, unknown>, most: number): void {
  if (all.size > most) all.delete(all.keys().next().value!);
}

/** Counts work as in flight until it settles. */
export function track<T>({ inFlight }: Server, work: Promise<T>): Promise<T> {
  const done = (): void => void inFlight.delete(work);
  inFlight.add(work);
  work.then(done, done);
  return work;
}

type Init = RequestInit & {
  headers?: Record<string, string>;
  /** Matches the status and the Content-Type of a successful answer. */
  success: RegExp;
  /** Replaces the last segment of the inbox URL's path. */
  path?: string;
};

/**
 * Makes a request of the protocol. It rejects with an InboxError unless an inbox server
 * answers with success, and as fetch does if nothing answers.
 */
export async function request({ url, id, password }: Server, query: Record<string, string>, { headers, success, path, ...init }: Init): Promise<Response> {
  if (/\/\//.test(url.pathname)) throw new InboxError("not-inbox", 0, "The inbox URL has // in its path.");
  const address = new URL(url);
  if (path) address.pathname = address.pathname.replace(/[^/]*$/, path);
  for (const name in query) address.searchParams.set(name, query[name]!);
  const options: RequestInit = {
    ...init,
    headers: { ...headers, Authorization: "Basic " + toBase64(toBytes(id + ":" + password)) },
    // Keeps the browser from adding credentials that it remembers, and from asking for a password.
    credentials: "omit",
    cache: "no-store",
    redirect: "manual",
  };
  let answer: Promise<Response>;
  try {
    // fetch throws a TypeError both for an unknown option and for a network failure. Request throws only for the first.
    new Request(address, options);
    answer = fetch(address, options);
  } catch (error) {
    throw new InboxError("unsupported", 0, `The fetch cannot be used: ${error}`, undefined, error);
  }
  const response = await answer;
  const { status } = response;
  const header = (name: string): string | null => response.headers.get(name);
  const said = `${status} ${header("Content-Type")}`;
  const later = retryAfter(header("Retry-After"));
  if (/problem\+json/.test(said)) {
    // RFC 9457
    const { code, detail } = ((await response.json().catch(() => {})) ?? {}) as { code?: unknown; detail?: string };
    if (typeof code === "string") throw new InboxError(code as InboxErrorCode, status, detail, later);
  }
  if (status === 401 || status === 407) throw new InboxError("proxy-auth", status);
  if (success.test(said) && header("Cache-Control")?.includes("no-store") && (init.method || path || header("Inbox-Cursor") || /event/.test(said))) return response;
  throw new InboxError(
    status > 399 ? `http-${status}` : "not-inbox",
    status,
    `${address.origin}${address.pathname} answered with ${response.type === "opaqueredirect" ? "a redirect" : said}. This is not an inbox server. Check the URL.`,
    later,
  );
}

/** Makes a request and reads the whole answer, within `timeout` milliseconds. */
export function requestText(
  server: Server,
  query: Record<string, string>,
  { signal, timeout = ANSWER_TIMEOUT, ...init }: Omit<Init, "signal"> & { signal?: AbortSignal | undefined; timeout?: number },
): Promise<Response & { content: string }> {
  const work = withTimeout(timeout, signal, async (signal) => {
    const response = await request(server, query, { ...init, signal });
    const content = await response.text();
    // The answers to POST and DELETE are empty.
    if (content && init.method! < "PUT") throw new InboxError("not-inbox", response.status);
    return Object.assign(response, { content });
  });
  return timeout > ANSWER_TIMEOUT || init.method === "DELETE" ? work : track(server, work);
}

/** Returns a Retry-After, which is in seconds or a date, in milliseconds. */
function retryAfter(value: string | null): number | undefined {
  const ms = Number(value) * 1000 || Date.parse(value!) - Date.now();
  return ms > 0 ? Math.min(ms, LONGEST_RETRY_AFTER) : undefined;
}
