import type { Link } from "./link.js";
import type { WireMessage } from "./message.js";
import { ANSWER_TIMEOUT, requestText } from "./request.js";
import { pause } from "./wait.js";

/** How long a long poll waits for a message, in seconds. The server may shorten it. */
const WAIT_SECONDS = 25;

/** Receives by long polls, which every network lets through. */
export async function poll(link: Link, signal: AbortSignal): Promise<never> {
  // The first poll does not wait, so that its answer shows right away that the inbox is open.
  for (let wait = 0; ; wait = WAIT_SECONDS) {
    const startedAt = Date.now();
    const { headers, content } = await requestText(
      link.server,
      { after: link.position(), wait: String(wait) },
      { signal, success: /^204|^200 application\/json/, headers: { Accept: "application/json" }, timeout: wait * 1000 + ANSWER_TIMEOUT },
    );
    link.opened(content ? undefined : headers.get("Inbox-Cursor"), headers.has("Inbox-Reset"));
    if (content) (JSON.parse(content) as { messages: WireMessage[] }).messages.forEach(link.deliver);
    // The next poll would return unacknowledged messages again. And a proxy that cuts
    // long polls short must not turn this into a busy loop.
    if (link.busy() || (wait && !content && Date.now() - startedAt < 1000)) {
      await pause(1000, signal, (wake) => {
        link.onmove = () => link.busy() || wake();
      });
    }
  }
}
