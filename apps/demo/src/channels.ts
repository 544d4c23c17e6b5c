import { EverwireError, type Clock } from '@everwire/core'
import type { ChannelOptions, ClientSession, Everwire } from '@everwire/server'
import { createRateLimit } from './rate-limit.js'
import {
  chatLimits,
  labChannel,
  labPublisher,
  ledgerChannel,
  liveLedgerChannel,
  mostPublisherLength,
  type ServerInfo,
} from './shared.js'

/** What `authenticate` keeps of a visitor. */
export interface Claims {
  /** Public name of the visitor. */
  visitor: string
}

/** The same for all, so that all are kept in the same place. */
const kept: ChannelOptions = { history: { size: 20_000, ttlMs: 300_000 }, maxRecover: 20_000 }
/** No room for words in it. */
const labName = /^lab:[0-9a-z]{1,16}$/

/** The channels and methods of the demo: who may, and what a stranger may send. */
export function addChannels(everwire: Everwire, clock: Clock): void {
  const startedAt = clock.now()
  const chatLimit = createRateLimit(clock, { perSecond: 2, burst: 10 })
  // What a page kept during an outage comes all at once.
  const ledgerLimit = createRateLimit(clock, { perSecond: 500, burst: 10_000 })
  const ledgerTotal = createRateLimit(clock, { perSecond: 2_000, burst: 20_000 })

  everwire.channel('chat:lobby', {
    history: { size: 100, ttlMs: 24 * 3_600_000 },
    subscribe: true,
    publish(session, _channel, { event, data }) {
      if (event !== 'message' || !isChatMessage(data))
        throw new EverwireError(
          'bad-payload',
          `a chat message has an id, a name of 1 to ${chatLimits.name} characters, a text of 1 to ${chatLimits.text}, and a time`,
        )
      chatLimit(session)
      return true
    },
  })
  everwire.channel('ticker:*', { subscribe: true })
  const numbers: ChannelOptions = {
    subscribe: true,
    publish(session, _channel, { event, data }) {
      if (event !== 'number' || !isNumbered(data, (name) => name.startsWith(`${claimsOf(session).visitor}.`)))
        throw new EverwireError('bad-payload', 'a ledger message has your own publisher and a sequence')
      ledgerLimit(session)
      ledgerTotal(everwire)
      return true
    },
  }
  everwire.channel(ledgerChannel, { ...numbers, ...kept })
  everwire.channel(liveLedgerChannel, numbers)
  everwire.channel(labChannel('*'), {
    ...kept,
    subscribe: (_session, channel) => labName.test(channel),
    publish(session, channel, { event, data }) {
      if (!labName.test(channel) || event !== 'number' || !isNumbered(data, (name) => name === labPublisher))
        throw new EverwireError(
          'bad-payload',
          `a message of the lab has a sequence, and publisher ${labPublisher}`,
        )
      ledgerLimit(session)
      ledgerTotal(everwire)
      return true
    },
  })
  everwire.method('server.info', (session): ServerInfo => ({
    bus: everwire.bus.name,
    node: everwire.nodeId,
    visitor: claimsOf(session).visitor,
    session: session.id,
    uptimeMs: Math.round(clock.now() - startedAt),
    sessions: everwire.sessions().length,
  }))
}

const claimsOf = (session: ClientSession) => session.claims as Claims

const isText = (value: unknown, most: number): value is string =>
  typeof value === 'string' && value.trim() !== '' && value.length <= most

function hasExactly(data: unknown, ...keys: string[]): data is Record<string, unknown> {
  if (typeof data !== 'object' || data === null) return false
  const own = Object.keys(data)
  return own.length === keys.length && keys.every((key) => own.includes(key))
}

const isChatMessage = (data: unknown): boolean =>
  hasExactly(data, 'id', 'name', 'text', 'at') &&
  isText(data.id, chatLimits.id) &&
  isText(data.name, chatLimits.name) &&
  isText(data.text, chatLimits.text) &&
  Number.isSafeInteger(data.at) &&
  Math.abs((data.at as number) - Date.now()) < 24 * 3_600_000

const isNumbered = (data: unknown, mayBe: (publisher: string) => boolean): boolean =>
  hasExactly(data, 'publisher', 'sequence') &&
  isText(data.publisher, mostPublisherLength) &&
  mayBe(data.publisher) &&
  Number.isSafeInteger(data.sequence) &&
  (data.sequence as number) >= 1
