import { CLOSES, InboxError, type InboxErrorCode } from "./errors.js";
import type { Link } from "./link.js";
import type { WireMessage } from "./message.js";
import { toBase64, toBytes } from "./base64.js";
import { ANSWER_TIMEOUT } from "./request.js";
import { asInboxError } from "./wait.js";

/** How long it may take until the inbox is open. */
const OPEN_TIMEOUT = 5000;
/** When to see whether a silent connection lives. The server does not ask who has asked. */
const PING_EVERY = 18_000;

/** What is said then: a send to nobody, which is answered with an error. */
const NOBODY = { to: "", body: "", key: "ping" };

/** What a server takes that does not say how much. */
const LARGEST = 16_000;

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
      // What was not answered is sent again: why the connection has ended is no answer to it.
      for (const answer of answers.values()) answer(new InboxError("unreachable"));
      ws.close();
      reject(error);
    };
    const then = (act: () => void, ms: number): void => {
      clearTimeout(timer);
      timer = setTimeout(act, ms);
    };
    const expect = (ms: number): void => then(() => end(new InboxError("timeout")), ms);
    const say = (frame: object): void => ws.send(JSON.stringify(frame));
    const sendFrame = (frame: object): void => {
      say({ type: "send", ...frame });
      expect(ANSWER_TIMEOUT);
    };

    expect(OPEN_TIMEOUT);
    signal.addEventListener("abort", () => end(new InboxError("unreachable")));
    ws.onopen = () => {
      const { id, password } = link.server;
      if (ws.protocol !== "inbox.v1") end(new InboxError("not-inbox"));
      else say({ type: "open", id, password, after: link.position() });
    };
    ws.onmessage = ({ data }) => {
      try {
        const frame = JSON.parse(data as string) as Frame;
        const { type, key } = frame;
        then(() => sendFrame(NOBODY), PING_EVERY);
        if (type === "opened" && typeof frame.cursor === "string") open(frame);
        else if (!link.send) end(new InboxError("not-inbox"));
        else if (type === "message") link.take(frame as WireMessage);
        else {
          const { code, status, retryAfter } = frame;
          answers.get(key!)?.(type === "sent" ? undefined : new InboxError(code!, status, undefined, retryAfter && retryAfter * 1000));
          answers.delete(key!);
        }
      } catch (error) {
        end(link.send ? asInboxError(error) : new InboxError("not-inbox"));
      }
    };
    ws.onerror = () => {}; // the close that follows says as much
    ws.onclose = ({ code }) => {
      const [name, status] = CLOSES[code] ?? ["unreachable", 0];
      // A send that was too large is told so when it is sent again, by a request.
      end(status === 413 ? new InboxError("unreachable") : new InboxError(name, status));
    };

    const open = ({ cursor, reset, maxBody = LARGEST }: Frame): void => {
      link.onmove = () => {
        say({ type: "ack", after: link.position() });
        link.opened(); // it arrives in its turn, also if the socket is closed next
      };
      link.send = (to, body, key) => {
        const bytes = toBytes(body);
        if (bytes.length > maxBody) return; // it would end the connection
        // What grows most as a text is shorter as bytes.
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
