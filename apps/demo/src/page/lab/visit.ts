import { createClient, type Explanation, type TransportMemory } from '@everwire/client'
import { longPolling } from '@everwire/transport-long-polling/client'
import { sse } from '@everwire/transport-sse/client'
import { webSocket } from '@everwire/transport-websocket/client'
import { labChannel, labPublisher, type NumberedMessage } from '../../shared.js'
import { createPageLedger, type LedgerSnapshot } from '../page-ledger.js'
import { createStream } from '../stream.js'
import { watchTransport, type Try } from './tries.js'

/** What is seen of a visit at a moment. */
export interface Sight {
  /** Milliseconds since connect(). */
  atMs: number
  state: string
  transport: string | undefined
  connectedMs: number | undefined
  firstMs: number | undefined
  /** Links lost, and moves to another transport. */
  falls: number
  moves: number
  tries: readonly Try[]
  /** Published before the subscription stood: these need not arrive. */
  early: number
  ledger: LedgerSnapshot
  explanation: Explanation
}

/** A client of its own, which publishes and reads what it publishes. */
export interface Visit {
  connect(): void
  publish(on: boolean): void
  /** Number of the last publication that arrived. */
  readonly received: number
  /** Everything that was published has its answer, and has arrived. */
  readonly isSettled: boolean
  /** `settled`: what has not arrived is lost. */
  look(options?: { settled?: boolean }): Sight
  close(): void
}

const perSecond = 50
const randomName = () =>
  crypto.getRandomValues(new Uint32Array(2)).reduce((name, x) => name + x.toString(36), '')

/** @param memory what the visitor remembers from one visit to the next */
export function createVisit(memory: TransportMemory): Visit {
  let began = 0
  const now = () => performance.now() - began
  const tries: Try[] = []
  const note = (one: Try) => void tries.push(one)
  const client = createClient({
    url: '/everwire',
    transports: [webSocket(), sse(), longPolling()].map((transport) => watchTransport(transport, now, note)),
    memory,
  })
  let connectedMs: number | undefined
  let firstMs: number | undefined
  let [falls, moves, received, early] = [0, 0, 0, 0]
  let isUp = false
  let carrier: string | undefined
  client.on('state', ({ state, transport }) => {
    if (state === 'reconnecting' && isUp) falls++
    isUp = state === 'connected'
    if (!isUp) return
    connectedMs ??= now()
    if (carrier !== undefined && carrier !== transport) moves++
    carrier = transport
  })

  const channel = client.channel(labChannel(randomName().slice(0, 16)))
  const ledger = createPageLedger(() => labPublisher)
  const stream = createStream(channel, () => labPublisher, ledger)
  let isSubscribed = false
  // What comes before the answer shows as well that the server has taken the subscription.
  const subscribed = () => {
    if (isSubscribed) return
    isSubscribed = true
    early = stream.sequence
    ledger.subscribed()
  }
  channel.on('number', (data) => {
    subscribed()
    const { publisher, sequence } = data as NumberedMessage
    firstMs ??= now()
    received = Math.max(received, sequence)
    ledger.received(publisher, sequence)
  })
  channel.on('gap', ({ reason }) => ledger.gap(reason))

  return {
    connect() {
      began = performance.now()
      // Opens the connection. A refusal shows by what does not arrive.
      channel.subscribe().then(subscribed, () => {})
      stream.start(perSecond)
    },
    publish(on) {
      if (on) stream.start(perSecond)
      else stream.stop()
    },
    get received() {
      return received
    },
    get isSettled() {
      return client.state === 'connected' && stream.unanswered === 0 && received >= stream.sequence
    },
    look: (options) => ({
      atMs: now(),
      state: client.state,
      transport: client.state === 'connected' ? client.transport : undefined,
      connectedMs,
      firstMs,
      falls,
      moves,
      tries,
      early,
      ledger: ledger.snapshot(options),
      explanation: client.explain(),
    }),
    close() {
      stream.stop()
      client.close()
    },
  }
}
