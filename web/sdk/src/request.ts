import { toBase64 } from "./base64.js";
import { within } from "./wait.js";
import { InboxError, type InboxErrorCode } from "./errors.js";

/** How long an answer may take that is not waited for on purpose. */
export const ANSWER = 10_000;

/** A Retry-After beyond this is not believed. */
const LONGEST_RETRY_AFTER = 300_000;

/** Where the inbox is, and who asks. */
export interface Server {
  readonly url: URL;
  readonly id: string;
  readonly password: string;
}

type Init = RequestInit & { headers?: Record<string, string> };

/**
 * One request of the protocol. It fails with an InboxError for every answer that
 * is no success, and as fetch does if there is none.
 */
export async function request(
  { url, id, password }: Server,
  query: Record<string, string>,
  { headers, ...init }: Init,
): Promise<Response> {
  const address = new URL(url);
  for (const name in query) address.searchParams.set(name, query[name]!);
  const response = await fetch(address, {
    ...init,
    headers: { ...headers, Authorization: "Basic " + toBase64(new TextEncoder().encode(id + ":" + password)) },
    // The browser neither adds what it remembers nor asks for a password.
    credentials: "omit",
    cache: "no-store",
    redirect: "error",
  });
  if (!response.ok) throw await problem(response);
  return response;
}

/** One request and its whole answer, in time. */
export function ask(
  server: Server,
  query: Record<string, string>,
  { signal, timeout = ANSWER, ...init }: Omit<Init, "signal"> & { signal?: AbortSignal | undefined; timeout?: number },
): Promise<Response & { content: string }> {
  return within(timeout, signal, async (signal) => {
    const response = await request(server, query, { ...init, signal });
    return Object.assign(response, { content: await response.text() });
  });
}

/** What an answer says is wrong (RFC 9457), or its status if it says nothing. */
async function problem(response: Response): Promise<InboxError> {
  const { status } = response;
  const { code, detail } = ((await response.json().catch(() => {})) ?? {}) as { code?: InboxErrorCode; detail?: string };
  return new InboxError(code ?? `http-${status}`, status, detail, retryAfter(response.headers.get("Retry-After")));
}

/** In milliseconds. The header has seconds, or a date. */
function retryAfter(value: string | null): number | undefined {
  const ms = Number(value) * 1000 || Date.parse(value!) - Date.now();
  return ms > 0 ? Math.min(ms, LONGEST_RETRY_AFTER) : undefined;
}
