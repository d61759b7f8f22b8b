import { toBase64, toBytes } from "./base64.js";
import { CLOSES, InboxError, type InboxErrorCode } from "./errors.js";
import type { Link } from "./link.js";
import type { WireMessage } from "./message.js";
import { ANSWER_TIMEOUT } from "./request.js";
import { asInboxError } from "./wait.js";

/** How long opening the inbox may take, in milliseconds. */
const OPEN_TIMEOUT = 5000;
/** After how much silence to check the connection, in milliseconds. It is shorter than the server's own interval. */
const PING_AFTER = 18_000;

/** A send without a recipient, which the server answers with an error. Scripts cannot send ping frames. */
const PING = { to: "", body: "", key: "ping" };

/** The limit for a body, in bytes, with a server that announces none. */
const MAX_BODY = 16_000;

type Frame = { type?: string; cursor?: string; maxBody?: number; reset?: boolean; code?: InboxErrorCode; status?: number; retryAfter?: number; key?: string };

/** Receives and sends over a WebSocket. */
export function socket(link: Link, signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const ws = new WebSocket(link.server.url.href.replace(/^http/, "ws"), "inbox.v1");
    const answers = new Map<string, (error?: InboxError) => void>();
    let timer: number;

    const end = (error: InboxError): void => {
      clearTimeout(timer);
      ws.onmessage = ws.onclose = () => {};
      // Unanswered sends are retried by request. Why the connection ended says nothing about them.
      for (const answer of answers.values()) answer(new InboxError("unreachable"));
      ws.close();
      reject(error);
    };
    const schedule = (act: () => void, ms: number): void => {
      clearTimeout(timer);
      timer = setTimeout(act, ms);
    };
    const expectFrame = (ms: number): void => schedule(() => end(new InboxError("timeout")), ms);
    const write = (frame: object): void => ws.send(JSON.stringify(frame));
    const sendFrame = (frame: object): void => {
      write({ type: "send", ...frame });
      expectFrame(ANSWER_TIMEOUT);
    };

    expectFrame(OPEN_TIMEOUT);
    signal.addEventListener("abort", () => end(new InboxError("unreachable")));
    ws.onopen = () => {
      const { id, password } = link.server;
      if (ws.protocol !== "inbox.v1") end(new InboxError("not-inbox"));
      else write({ type: "open", id, password, after: link.position() });
    };
    ws.onmessage = ({ data }) => {
      try {
        const frame = JSON.parse(data as string) as Frame;
        const { type, key } = frame;
        schedule(() => sendFrame(PING), PING_AFTER);
        if (type === "opened" && typeof frame.cursor === "string") open(frame);
        else if (!link.send) end(new InboxError("not-inbox"));
        else if (type === "message") link.deliver(frame as WireMessage);
        else {
          const { code, status, retryAfter } = frame;
          answers.get(key!)?.(type === "sent" ? undefined : new InboxError(code!, status, undefined, retryAfter && retryAfter * 1000));
          answers.delete(key!);
        }
      } catch (error) {
        end(link.send ? asInboxError(error) : new InboxError("not-inbox"));
      }
    };
    ws.onerror = () => {}; // a close event follows
    ws.onclose = ({ code }) => {
      const [name, status] = CLOSES[code] ?? ["unreachable", 0];
      // The request that retries a send which was too large reports so.
      end(status === 413 ? new InboxError("unreachable") : new InboxError(name, status));
    };

    const open = ({ cursor, reset, maxBody = MAX_BODY }: Frame): void => {
      link.onmove = () => {
        write({ type: "ack", after: link.position() });
        link.opened(); // the frame arrives even if the socket is closed next
      };
      link.send = (to, body, key) => {
        const bytes = toBytes(body);
        if (bytes.length > maxBody) return; // the server would end the connection
        // A text with many escapes is shorter as base64.
        const plain = typeof body === "string" && JSON.stringify(body).length < 2 * body.length + 3;
        return new Promise((resolve, reject) => {
          answers.set(key, (error) => (error ? reject(error) : resolve()));
          sendFrame({ to, key, ...(plain ? { body } : { body64: toBase64(bytes) }) });
        });
      };
      link.opened(cursor, reset);
    };
  });
}
