/**
 * Trystero over this server: a strategy for `createTopicStrategy` of `@trystero-p2p/core`.
 * Unlike Trystero's own relay client, it subscribes again after a lost connection.
 *
 * @module
 */

/** A connection to one server, which all rooms of a page share. */
export interface Relay {
  /** The server's WebSocket, while there is one. */
  readonly socket: WebSocket | undefined
  /**
   * Calls the listener with each message of a topic, also after the connection was lost and made
   * again. Returns a function that unsubscribes.
   */
  subscribe(topic: string, onMessage: Listener): () => void
  /** Sends a message to all subscribers of a topic. Up to 100 messages wait for a connection. */
  publish(topic: string, payload: unknown): void
}

/** A function that takes the messages of a topic. */
export type Listener = (topic: string, payload: any) => unknown

/** What `createTopicStrategy` takes. */
export interface TopicStrategy {
  /** Prepares a connection to each server. It opens with the first subscription. */
  init: () => Relay[]
  /** Subscribes to a topic at one server. */
  subscribeTopic: (relay: Relay, topic: string, onMessage: Listener) => () => void
  /** Publishes to a topic at one server. */
  publishTopic: (relay: Relay, topic: string, payload: string | object) => void
}

/** Messages that wait for a connection. Trystero repeats what it announces. */
const MAX_WAITING = 100
const [FIRST_DELAY, LAST_DELAY] = [500, 30_000]

const connectTo = (url: string): Relay => {
  const topics = new Map<string, Set<Listener>>()
  let socket: WebSocket | undefined
  let timer: ReturnType<typeof setTimeout> | undefined
  let delay = FIRST_DELAY
  let waiting: string[] = []

  const say = (type: string, topic: string, payload?: unknown) => {
    const frame = JSON.stringify({ type, topic, payload })
    if (socket?.readyState === 1) socket.send(frame)
    else if (payload !== undefined && waiting.length < MAX_WAITING) waiting.push(frame)
  }
  const connect = () => {
    const mine = (socket = new WebSocket(url))
    mine.onopen = () => {
      delay = FIRST_DELAY
      for (const topic of topics.keys()) say("subscribe", topic)
      for (const frame of waiting) mine.send(frame)
      waiting = []
    }
    mine.onmessage = ({ data }) => {
      const { topic, payload } = JSON.parse(data)
      for (const listener of topics.get(topic) ?? []) listener(topic, payload)
    }
    mine.onclose = () => {
      if (socket !== mine) return // it is no longer needed
      timer = setTimeout(connect, delay * (0.5 + Math.random() / 2))
      delay = Math.min(2 * delay, LAST_DELAY)
    }
  }
  return {
    get socket() {
      return socket
    },
    subscribe(topic, onMessage) {
      const listeners = topics.get(topic) ?? new Set()
      if (!socket) connect()
      if (!listeners.size) say("subscribe", topic)
      topics.set(topic, listeners.add(onMessage))
      return () => {
        listeners.delete(onMessage)
        if (listeners.size || topics.get(topic) !== listeners) return
        topics.delete(topic)
        say("unsubscribe", topic)
        if (topics.size) return
        clearTimeout(timer)
        const last = socket
        socket = undefined
        last?.close()
      }
    },
    publish: (topic, payload) => say("publish", topic, payload),
  }
}

/**
 * Returns a strategy for rooms at the given servers.
 *
 * @param urls - the URL of the server's `/trystero`, as in
 * `wss://inbox.example.com/trystero`, or several
 */
export const topics = (...urls: string[]): TopicStrategy => ({
  init: () => urls.map(connectTo),
  subscribeTopic: (relay, topic, onMessage) => relay.subscribe(topic, onMessage),
  publishTopic: (relay, topic, payload) => relay.publish(topic, payload),
})
