import { CLOSES, InboxError, type InboxErrorCode } from "./errors.js";
import type { Link } from "./link.js";
import type { WireMessage } from "./message.js";
import { ANSWER, ask } from "./request.js";
import { asInboxError } from "./wait.js";

/** How long it may take until the inbox is open. */
const OPEN = 5000;
/** When to see whether a silent connection lives. The server does not ask who has asked. */
const PING = 18_000;

/** What is said then: a send to nobody, which is answered with an error. */
const NOBODY = { to: "", body: "", key: "ping" };

type Frame = { type?: string; cursor?: string; reset?: boolean; code?: InboxErrorCode; status?: number; key?: string };

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
      expect(ANSWER);
    };

    expect(OPEN);
    signal.addEventListener("abort", () => end(new InboxError("unreachable")));
    ws.onopen = () => {
      const { id, password } = link.server;
      say({ type: "open", id, password, after: link.position() });
    };
    ws.onmessage = ({ data }) => {
      try {
        const frame = JSON.parse(data as string) as Frame;
        const { type, key } = frame;
        then(() => sendFrame(NOBODY), PING);
        if (type === "message") link.take(frame as WireMessage);
        else if (type === "opened") open(frame);
        else {
          answers.get(key!)?.(type === "sent" ? undefined : new InboxError(frame.code!, frame.status));
          answers.delete(key!);
        }
      } catch (error) {
        end(asInboxError(error)); // no inbox server says that
      }
    };
    ws.onerror = () => {}; // the close that follows says as much
    ws.onclose = ({ code }) => {
      const [name, status] = CLOSES[code] ?? ["unreachable", 0];
      // The server does not understand this side, or somebody between garbles what it
      // says. The answer to a request tells which, and names the fault.
      if (status === 400) ask(link.server, { after: link.position(), limit: "0" }, { signal }).then(() => end(new InboxError("unreachable")), (error) => end(asInboxError(error)));
      // A send that was too large is told so when it is sent again, by a request.
      else end(status === 413 ? new InboxError("unreachable") : new InboxError(name, status));
    };

    const open = ({ cursor, reset }: Frame): void => {
      link.onmove = () => {
        say({ type: "ack", after: link.position() });
        link.opened(); // it arrives in its turn, also if the socket is closed next
      };
      link.send = (to, body, key) =>
        new Promise((resolve, reject) => {
          answers.set(key, (error) => (error ? reject(error) : resolve()));
          sendFrame({ to, body, key });
        });
      link.opened(cursor, reset);
    };
  });
}
