import { CLOSES, InboxError } from "./errors.js";
import type { Link } from "./link.js";
import type { WireMessage } from "./message.js";
import { request } from "./request.js";
import { within } from "./wait.js";

/** The first line comes at once. If it does not, somebody between keeps what should flow. */
const OPEN_TIMEOUT = 4000;
/** Another line comes every 15 seconds. */
const SILENCE_TIMEOUT = 25_000;

/** Receives from one answer that does not end: Server-Sent Events, read by fetch. */
export function stream(link: Link, signal: AbortSignal): Promise<never> {
  return within(OPEN_TIMEOUT, signal, async (signal, extend) => {
    const response = await request(link.server, { after: link.position() }, { signal, form: /^200 text\/event-stream/, headers: { Accept: "text/event-stream" } });
    const reader = response.body!.getReader();
    const decoder = new TextDecoder();
    for (let text = ""; ; ) {
      const { value, done } = await reader.read();
      if (done) throw new InboxError("unreachable");
      extend(SILENCE_TIMEOUT);
      const events = (text += decoder.decode(value, { stream: true })).split("\n\n");
      text = events.pop()!;
      if (!link.onmove) link.opened();
      // Acknowledgements are requests beside the stream. The first one also tells where the inbox stands.
      (link.onmove = () => link.tell(signal))();
      for (const event of events) hear(link, event);
    }
  });
}

/** One event: lines of a name and a value. */
function hear(link: Link, event: string): void {
  // A value may hold what a regular expression takes for the end of a line.
  const field = (name: string): string | undefined => `\n${event}`.split(`\n${name}: `)[1]?.split("\n")[0];
  const type = field("event");
  if (type === "message") link.take(JSON.parse(field("data")!) as WireMessage);
  else if (type === "reset") link.opened("", true);
  else if (type) {
    const [code, status] = Object.values(CLOSES).find((known) => known![0] === type) ?? (["unreachable", 0] as const);
    throw new InboxError(code, status);
  }
}
