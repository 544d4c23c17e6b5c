import { setTimeout as sleep } from 'node:timers/promises'
import { nats } from '@everwire/bus-nats'
import type { Bus } from '@everwire/core'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { sabotageBus } from '../sabotage.js'
import type { NodeSettings } from './node-settings.js'

const never = 2 ** 31 - 1
/** One in so many publications. */
const lateEvery = 97
const lateMs = 6_000

/** The bus that a node is to have: as it is, or broken on purpose. */
export async function openBus({ servers, sabotage, deaf }: NodeSettings): Promise<Bus> {
  const unchecked = sabotage === 'no-tail-check'
  const bus = nats({
    servers,
    ...(deaf || unchecked ? { connection: await connectDeaf(servers) } : {}),
    ...(unchecked ? { checkPeriodMs: never } : {}),
  })
  if (sabotage === 'late-answers') answerLate(bus)
  else if (sabotage !== undefined && sabotage !== 'no-tail-check' && sabotage !== 'no-handover')
    sabotageBus(bus, sabotage, () => true)
  return bus
}

/** A connection as the bus makes it itself, over which nothing comes that JetStream republishes. */
async function connectDeaf(servers: readonly string[]): Promise<NatsConnection> {
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

function answerLate(bus: Bus): void {
  const store = bus.store.bind(bus)
  let count = 0
  bus.store = async (...args) => {
    const position = await store(...args)
    if (++count % lateEvery === 0) await sleep(lateMs)
    return position
  }
}
