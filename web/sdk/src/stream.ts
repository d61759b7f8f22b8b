import { CLOSES, InboxError } from "./errors.js";
import type { Link } from "./link.js";
import type { WireMessage } from "./message.js";
import { request } from "./request.js";
import { withTimeout } from "./wait.js";

/** How long the first line may take, in milliseconds. The server sends it immediately, so a slower one means that a proxy buffers the response. */
const OPEN_TIMEOUT = 4000;
/** How long the stream may be silent, in milliseconds. The server sends a line every 15 seconds. */
const SILENCE_TIMEOUT = 25_000;

/** Receives from one response that does not end: Server-Sent Events, read by fetch. */
export function stream(link: Link, signal: AbortSignal): Promise<never> {
  return withTimeout(OPEN_TIMEOUT, signal, async (signal, extend) => {
    const response = await request(link.server, { after: link.position() }, { signal, success: /^200 text\/event-stream/, headers: { Accept: "text/event-stream" } });
    const reader = response.body!.getReader();
    const decoder = new TextDecoder();
    for (let text = ""; ; ) {
      const { value, done } = await reader.read();
      if (done) throw new InboxError("unreachable");
      extend(SILENCE_TIMEOUT);
      const events = (text += decoder.decode(value, { stream: true })).split("\n\n");
      text = events.pop()!;
      if (!link.onmove) link.opened();
      // Acknowledgements are separate requests. The first one also returns the position of the inbox.
      (link.onmove = () => link.acknowledge(signal))();
      for (const event of events) handleEvent(link, event);
    }
  });
}

/** Handles one event: lines of the form `name: value`. */
function handleEvent(link: Link, event: string): void {
  // Not a regular expression: its `$` and `.` would also stop at U+2028, which may occur in a value.
  const field = (name: string): string | undefined => `\n${event}`.split(`\n${name}: `)[1]?.split("\n")[0];
  const type = field("event");
  if (type === "message") link.deliver(JSON.parse(field("data")!) as WireMessage);
  else if (type === "reset") link.opened("", true);
  else if (type) {
    const [code, status] = Object.values(CLOSES).find((known) => known![0] === type) ?? (["unreachable", 0] as const);
    throw new InboxError(code, status);
  }
}
