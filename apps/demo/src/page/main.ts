import { createClient } from '@everwire/client'
import { longPolling } from '@everwire/transport-long-polling/client'
import { sse } from '@everwire/transport-sse/client'
import { webSocket } from '@everwire/transport-websocket/client'
import { ledgerChannel, type NumberedMessage, type ServerInfo } from '../shared.js'
import { createChat } from './chat.js'
import type { EverwireDemo } from './demo-api.js'
import { createFacts } from './facts.js'
import { createLadder } from './ladder.js'
import { createLedgerPanel } from './ledger-panel.js'
import { trackMoves } from './moves.js'
import { createNodesPanel } from './nodes-panel.js'
import { createPageLedger } from './page-ledger.js'
import { createPathControls } from './path-controls.js'
import { createStream } from './stream.js'
import { createTicker } from './ticker.js'

const renderEveryMs = 250
const drainedMs = 50

const client = createClient({
  url: '/everwire',
  transports: [webSocket(), sse(), longPolling()],
  // A demo should not be waited for: what works again is used again within seconds.
  upgradeIntervalMs: 3_000,
  maxBackoffMs: 3_000,
  // A busy stream must find room for what an outage keeps back.
  queueSize: 10_000,
  queueBytes: 4_194_304,
})

const ownName = crypto.getRandomValues(new Uint32Array(2)).join('')
let publisher: string | undefined
const askPublisher = async () => {
  const { visitor } = (await client.request('server.info')) as ServerInfo
  publisher ??= `${visitor}.${ownName}`
}

const moves = trackMoves(client)
const ladder = createLadder(client)
const path = createPathControls(ladder.showFaults)
const facts = createFacts(client)
const nodes = createNodesPanel(client, facts)
createChat(client)
createTicker(client)

const channel = client.channel(ledgerChannel)
const ledger = createPageLedger(() => publisher ?? '')
// The page publishes only when it has subscribed, and of others it counts what arrives.
ledger.subscribed()
const stream = createStream(channel, () => publisher ?? '', ledger)
const panel = createLedgerPanel(ledger, stream, (perSecond) => {
  startStream(perSecond).catch((error: unknown) => console.error(error))
})
channel.on('number', (data) => {
  const { publisher: from, sequence } = data as NumberedMessage
  ledger.received(from, sequence)
})
channel.on('gap', ({ reason }) => ledger.gap(reason))
channel.subscribe().catch((error: unknown) => console.error(error))

async function startStream(perSecond: number): Promise<void> {
  await channel.subscribe()
  if (publisher === undefined) await askPublisher()
  stream.start(perSecond)
}

async function stopStream(): Promise<void> {
  stream.stop()
  while (stream.unanswered > 0) await new Promise((resolve) => setTimeout(resolve, drainedMs))
}

setInterval(() => {
  facts.render()
  panel.render()
}, renderEveryMs)

const demo: EverwireDemo = {
  version: 1,
  client,
  get publisher() {
    return publisher
  },
  get state() {
    return client.state
  },
  get transport() {
    return client.transport
  },
  get roundTripMs() {
    return facts.roundTripMs()
  },
  explain: () => client.explain(),
  stats: () => client.stats(),
  stream: {
    get rate() {
      return stream.rate
    },
    get sequence() {
      return stream.sequence
    },
    get unanswered() {
      return stream.unanswered
    },
    start: startStream,
    stop: stopStream,
  },
  ledger: (options) => ledger.snapshot(options),
  moves: () => [...moves],
  path,
  nodes,
}
window.everwireDemo = demo
