import { createClient, type Client, type Explanation } from '@everwire/client'
import { longPolling } from '@everwire/transport-long-polling/client'
import { sse } from '@everwire/transport-sse/client'
import { webSocket, type WebSocketClientOptions } from '@everwire/transport-websocket/client'
import type { Entry } from './entry.js'

export interface RecorderOptions {
  /** Of the server's prefix. */
  url: string
  name: string
  channel: string
  /** What the client draws whenever it draws: the waits of its backoff are known then. */
  jitter: number
  /** @default the runtime's */
  WebSocket?: WebSocketClientOptions['WebSocket']
  /** @default the browser's localStorage */
  memory?: { getItem(key: string): string | null; setItem(key: string, value: string): void }
}

/** What can be seen of a client at a moment. */
export interface Sight {
  state: string
  transport: string | undefined
  /** From connect() on; undefined until it happened. */
  connectedMs: number | undefined
  firstMs: number | undefined
  /** Publications without an answer. */
  open: number
  /** Highest number received, by publisher. */
  received: Readonly<Record<string, number>>
  /** Highest number of its own that was accepted. */
  accepted: number
}

/** A client that publishes, and writes down all that it sees. It runs in the page and on Node: no node:* here. */
export interface Recorder {
  connect(): void
  /** Publishes from now on, or no more. */
  publish(on: boolean): void
  look(): Sight
  /** Everything since the last call. */
  take(): Entry[]
  explain(): Explanation
  close(): void
}

const event = 'n'
const publishEveryMs = 100
const lookEveryMs = 100

export function createRecorder({
  url,
  name,
  channel: channelName,
  jitter,
  WebSocket,
  memory,
}: RecorderOptions): Recorder {
  const client: Client = createClient({
    url,
    transports: [webSocket(WebSocket ? { WebSocket } : {}), sse(), longPolling()],
    random: () => jitter,
    ...(memory ? { memory } : {}),
  })
  const entries: Entry[] = []
  const note = (entry: Entry) => entries.push(entry)
  const sight = { connectedMs: undefined, firstMs: undefined } as Pick<Sight, 'connectedMs' | 'firstMs'>
  const received: Record<string, number> = {}
  const known = new Set<string>()
  let [began, open, sent, accepted] = [0, 0, 0, 0]
  let publishing = false

  const noteAttempts = () => {
    for (const { at, transport, ok, reason } of client.explain().attempts) {
      const key = `${at} ${transport} ${ok}`
      if (known.has(key)) continue
      known.add(key)
      note({ at, kind: 'attempt', transport, ok, reason })
    }
  }
  client.on('state', ({ state, transport, error }) => {
    noteAttempts()
    if (state === 'connected') sight.connectedMs ??= performance.now() - began
    note({ at: Date.now(), kind: 'state', state, transport, why: error?.message ?? '' })
  })

  const channel = client.channel(channelName)
  let isSubscribed = false
  // What comes before the promise is settled shows as well that the subscription was accepted.
  const subscribed = () => {
    if (!isSubscribed) note({ at: Date.now(), kind: 'subscribed' })
    isSubscribed = true
  }
  channel.on(event, (data) => {
    subscribed()
    const { publisher, n } = data as { publisher: string; n: number }
    sight.firstMs ??= performance.now() - began
    received[publisher] = Math.max(received[publisher] ?? 0, n)
    note({ at: Date.now(), kind: 'received', publisher, n })
  })
  channel.on('gap', ({ reason }) => {
    subscribed()
    note({ at: Date.now(), kind: 'gap', reason })
  })

  const publishOne = async (n: number) => {
    note({ at: Date.now(), kind: 'publishing', publisher: name, n })
    open++
    try {
      await channel.publish(event, { publisher: name, n })
      accepted = Math.max(accepted, n)
      note({ at: Date.now(), kind: 'accepted', publisher: name, n })
    } catch (error) {
      // What may have happened is neither accepted nor refused.
      if ((error as { code?: string }).code !== 'outcome-unknown')
        note({ at: Date.now(), kind: 'refused', publisher: name, n })
    } finally {
      open--
    }
  }
  const timers = [
    setInterval(noteAttempts, lookEveryMs),
    setInterval(() => {
      if (publishing) void publishOne(++sent)
    }, publishEveryMs),
  ]

  return {
    connect() {
      began = performance.now()
      channel.subscribe().then(subscribed, () => {})
    },
    publish(on) {
      publishing = on
    },
    look: () => ({ state: client.state, transport: client.transport, ...sight, open, received, accepted }),
    take() {
      noteAttempts()
      return entries.splice(0)
    },
    explain: () => client.explain(),
    close() {
      timers.forEach(clearInterval)
      client.close()
    },
  }
}
