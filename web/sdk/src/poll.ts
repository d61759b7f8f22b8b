import type { Link } from "./link.js";
import type { WireMessage } from "./message.js";
import { ANSWER_TIMEOUT, ask } from "./request.js";
import { pause } from "./wait.js";

/** How long a request waits for a message, in seconds. The server cuts what is too much. */
const WAIT_SECONDS = 25;

/** Receives by requests that wait for messages: works everywhere. */
export async function poll(link: Link, signal: AbortSignal): Promise<never> {
  // The first one does not wait, so that one knows at once that the inbox is open.
  for (let wait = 0; ; wait = WAIT_SECONDS) {
    const asked = Date.now();
    const { headers, content } = await ask(
      link.server,
      { after: link.position(), wait: String(wait) },
      { signal, form: /^204|^200 application\/json/, headers: { Accept: "application/json" }, timeout: wait * 1000 + ANSWER_TIMEOUT },
    );
    link.opened(content ? undefined : headers.get("Inbox-Cursor"), headers.has("Inbox-Reset"));
    if (content) (JSON.parse(content) as { messages: WireMessage[] }).messages.forEach(link.take);
    // Messages that wait for their readers would be the next answer again. And a
    // proxy that does not let us wait must not make this a hot loop.
    if (link.busy() || (wait && !content && Date.now() - asked < 1000)) {
      await pause(1000, signal, (wake) => {
        link.onmove = () => link.busy() || wake();
      });
    }
  }
}
