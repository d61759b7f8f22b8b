import { toBase64, toBytes } from "./base64.js";
import { within } from "./wait.js";
import { InboxError, type InboxErrorCode } from "./errors.js";

/** How long an answer may take that is not waited for on purpose. */
export const ANSWER_TIMEOUT = 10_000;

/** A Retry-After beyond this is not believed. */
const LONGEST_RETRY_AFTER = 300_000;

/** Where the inbox is, and who asks. */
export interface Server {
  readonly url: URL;
  readonly id: string;
  readonly password: string;
  readonly place: Place;
  /** What the server is about to answer. */
  readonly due: Set<Promise<unknown>>;
  /** How often it was closed. */
  closes: number;
}

/** What all objects of this page for one inbox have in common. */
interface Place {
  closing?: Promise<unknown>;
  /** When an attempt was last ended by this side. */
  left: number;
  /** When the outcome of a call was last reported. */
  told?: number;
}

/** Of so many inboxes it is known that they are one. */
const PLACES = 100;
const places = new Map<string, Place>();

export function placeOf(name: string): Place {
  const place = places.get(name) ?? { left: 0 };
  places.delete(name);
  places.set(name, place);
  trim(places, PLACES);
  return place;
}

/** Forgets the oldest of what has become one too many. */
export function trim<T>(all: Set<T> | Map<T, unknown>, most: number): void {
  if (all.size > most) all.delete(all.keys().next().value!);
}

/** Notes what the server is about to answer. */
export function track<T>({ due }: Server, work: Promise<T>): Promise<T> {
  const done = (): void => void due.delete(work);
  due.add(work);
  work.then(done, done);
  return work;
}

type Init = RequestInit & {
  headers?: Record<string, string>;
  /** What the status and the type of a success are. */
  form: RegExp;
  /** What stands in place of the last part of the inbox's address. */
  path?: string;
};

/**
 * One request of the protocol. It fails with an InboxError for every answer that
 * is no success of an inbox server, and as fetch does if there is none.
 */
export async function request({ url, id, password }: Server, query: Record<string, string>, { headers, form, path, ...init }: Init): Promise<Response> {
  if (/\/\//.test(url.pathname)) throw new InboxError("not-inbox", 0, "The address of the inbox has // in its path.");
  const address = new URL(url);
  if (path) address.pathname = address.pathname.replace(/[^/]*$/, path);
  for (const name in query) address.searchParams.set(name, query[name]!);
  const options: RequestInit = {
    ...init,
    headers: { ...headers, Authorization: "Basic " + toBase64(toBytes(id + ":" + password)) },
    // The browser neither adds what it remembers nor asks for a password.
    credentials: "omit",
    cache: "no-store",
    redirect: "manual",
  };
  let answer: Promise<Response>;
  try {
    // An option that the runtime does not know is a TypeError, as a network that is away is: not here, though.
    new Request(address, options);
    answer = fetch(address, options);
  } catch (error) {
    throw new InboxError("unsupported", 0, `This runtime's fetch cannot be used: ${error}`, undefined, error);
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
  if (form.test(said) && header("Cache-Control")?.includes("no-store") && (init.method || path || header("Inbox-Cursor") || /event/.test(said))) return response;
  throw new InboxError(
    status > 399 ? `http-${status}` : "not-inbox",
    status,
    `${address.origin}${address.pathname} answered ${response.type === "opaqueredirect" ? "with a redirect" : said}: it is not an inbox server.`,
    later,
  );
}

/** One request and its whole answer, in time. */
export function ask(
  server: Server,
  query: Record<string, string>,
  { signal, timeout = ANSWER_TIMEOUT, ...init }: Omit<Init, "signal"> & { signal?: AbortSignal | undefined; timeout?: number },
): Promise<Response & { content: string }> {
  const work = within(timeout, signal, async (signal) => {
    const response = await request(server, query, { ...init, signal });
    const content = await response.text();
    if (content && init.method) throw new InboxError("not-inbox", response.status);
    return Object.assign(response, { content });
  });
  return timeout > ANSWER_TIMEOUT || init.method === "DELETE" ? work : track(server, work);
}

/** In milliseconds. The header has seconds, or a date. */
function retryAfter(value: string | null): number | undefined {
  const ms = Number(value) * 1000 || Date.parse(value!) - Date.now();
  return ms > 0 ? Math.min(ms, LONGEST_RETRY_AFTER) : undefined;
}
