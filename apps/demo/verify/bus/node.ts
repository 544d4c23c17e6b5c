/** One Everwire server in a process of its own, so that it can be killed. `node-process.ts` starts it. */
import { nats } from '@everwire/bus-nats'
import { EverwireError, everwire } from '@everwire/server'
import { longPolling } from '@everwire/transport-long-polling/server'
import { sse } from '@everwire/transport-sse/server'
import { webSocket } from '@everwire/transport-websocket/server'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import fastify from 'fastify'
import { sabotageBus } from '../support/sabotage.js'
import {
  historyPattern,
  historySize,
  livePattern,
  type NodeAnswer,
  type NodeRequest,
  type NodeSettings,
} from './node-settings.js'

const { port, servers, sabotage, deaf } = JSON.parse(process.argv[2]!) as NodeSettings
const never = 2 ** 31 - 1

const say = (answer: NodeAnswer) => void process.send!(answer)
// Whoever started it is gone.
process.on('disconnect', () => process.exit(0))

/** A connection as the bus makes it itself, over which nothing comes that JetStream republishes. */
async function connectDeaf(): Promise<NatsConnection> {
  const connection = await connect({
    servers: [...servers],
    maxReconnectAttempts: -1,
    reconnectTimeWait: 250,
    pingInterval: 5_000,
  })
  const subscribe = connection.subscribe.bind(connection)
  connection.subscribe = (subject, options = {}) => {
    const { callback } = options
    if (!callback || !subject.startsWith('ew.out.')) return subscribe(subject, options)
    return subscribe(subject, {
      ...options,
      callback: (error, message) => {
        if (!message?.headers?.has('Nats-Stream')) callback(error, message)
      },
    })
  }
  return connection
}

async function start(): Promise<void> {
  const unchecked = sabotage === 'no-tail-check'
  const bus = nats({
    servers,
    ...(deaf || unchecked ? { connection: await connectDeaf() } : {}),
    ...(unchecked ? { checkPeriodMs: never } : {}),
  })
  if (sabotage !== undefined && sabotage !== 'no-tail-check') sabotageBus(bus, sabotage, () => true)

  const app = fastify({ logger: { level: 'warn' }, forceCloseConnections: true })
  await app.register(everwire, {
    transports: [webSocket(), sse(), longPolling()],
    bus,
    authenticate: () => ({ userId: null }),
    // A client that is slow for a moment shall not lose its session: that is not what is verified here.
    outboxFrames: 50_000,
    outboxBytes: 33_554_432,
    maxOperations: 10_000,
    maxSubscriptions: 1_000,
  })
  const open = { subscribe: true, publish: true }
  app.everwire.channel(historyPattern, { ...open, history: { size: historySize }, maxRecover: historySize })
  app.everwire.channel(livePattern, open)

  process.on('message', ({ id, channel, event, data }: NodeRequest) => {
    app.everwire.publish(channel, event, data).then(
      (position) => say({ kind: 'published', id, position }),
      (error: unknown) =>
        say({ kind: 'refused', id, code: error instanceof EverwireError ? error.code : '' }),
    )
  })
  await app.listen({ port, host: '127.0.0.1' })
}

start().then(
  () => say({ kind: 'ready' }),
  (error: Error & { code?: string }) => {
    say({ kind: 'failed', code: error.code ?? '', message: error.message })
    process.disconnect()
  },
)
