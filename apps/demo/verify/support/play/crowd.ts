import { createClient, EverwireError, type Client } from '@everwire/client'
import type { Ledger } from '@everwire/testkit/ledger'
import { longPolling } from '@everwire/transport-long-polling/client'
import { sse } from '@everwire/transport-sse/client'
import { webSocket } from '@everwire/transport-websocket/client'
import { WebSocket } from 'ws'
import type { Random } from '../random.js'
import { until } from '../until.js'
import { count, createFigures, type Figures } from './figures.js'
import { isHistory } from './node-settings.js'
import { createOffsets, type Offsets } from './offsets.js'

export const transports = {
  websocket: () => webSocket({ WebSocket }),
  sse,
  'long-polling': longPolling,
} as const
export type TransportName = keyof typeof transports
export const transportNames = Object.keys(transports) as TransportName[]

const event = 'n'
const tickMs = 5
/** A publisher sends up to so many one right after the other into one channel, or no order would be put to the test. */
const mostAtOnce = 4
const answerMs = 45_000

/** Somebody who publishes: writes into the payload who, and the how-manieth of the channel. */
type Publish = (channel: string, event: string, data: unknown) => Promise<{ epoch?: string; offset?: number }>

export interface Member {
  readonly name: string
  readonly client: Client
  /** What it reads. */
  readonly channels: readonly string[]
  /** Reads a channel from now on; resolves once that is accepted. */
  subscribe(channel: string): Promise<void>
}

/** Real clients that publish and read, and whoever publishes beside them; all they see goes to the ledger. */
export interface Crowd {
  readonly members: readonly Member[]
  readonly figures: Figures
  readonly offsets: Offsets
  /** Publications so far, whatever became of them. */
  readonly published: number
  /** Resolves once it is connected. It takes the first transport that works. */
  join(name: string, url: string, ...transports: TransportName[]): Promise<Member>
  /** Publishes something, as the next one of this publisher in the channel. Resolves once the outcome is known. */
  publish(publisher: string, channel: string, by: Publish, transport?: string): Promise<void>
  publishAs(member: Member, channel: string): Promise<void>
  /**
   * Publishes so many a second all together, each of the publishers into any of the channels, until the undo is called.
   * @param publishers default everyone
   */
  publishSteadily(
    perSecond: number,
    channels: readonly string[],
    random: Random,
    publishers?: readonly Member[],
  ): () => void
  /** Does something every so many milliseconds, until the undo is called. */
  every(ms: number, run: () => void): () => void
  /** Ends all that goes on steadily. */
  rest(): void
  /** Resolves once everyone is connected and reads all channels again. */
  whole(timeoutMs: number): Promise<void>
  /** Resolves once every publication has an answer. */
  answered(): Promise<void>
  /** How often each member has got another session or link. */
  moves(): number
  /** Sessions that were opened; one for each member when none was lost. */
  sessions(): number
  /**
   * Gaps that tell live channels of lost sessions: at most one for each session and channel; at least one for each
   * channel of a client that lost any, because one that is lost before the channels are read again is not told anew.
   */
  sessionGaps(): { least: number; most: number }
  close(): void
}

export interface CrowdOptions {
  ledger: Ledger
  random: Random
  /** Hears of every gap. */
  gap(subscriber: string, channel: string, reason: string): void
  /** What helps to find out what happened. */
  trace(text: string): void
}

export function createCrowd({ ledger, random, gap, trace }: CrowdOptions): Crowd {
  const members: Member[] = []
  const numbers = new Map<string, number>()
  const figures = createFigures()
  const offsets = createOffsets()
  const timers = new Set<NodeJS.Timeout>()
  let published = 0
  let open = 0

  const every: Crowd['every'] = (ms, run) => {
    const timer = setInterval(run, ms)
    timers.add(timer)
    return () => clearInterval(timer)
  }

  const publish: Crowd['publish'] = async (publisher, channel, by, transport) => {
    const series = `${publisher} ${channel}`
    const n = (numbers.get(series) ?? 0) + 1
    numbers.set(series, n)
    ledger.publishing(channel, publisher, n)
    published++
    open++
    const began = performance.now()
    let accepted = false
    try {
      const { epoch, offset } = await by(channel, event, { publisher, n })
      accepted = true
      ledger.accepted(channel, publisher, n)
      if (epoch !== undefined && offset !== undefined)
        offsets.acknowledged(channel, { epoch, offset }, publisher, n)
    } catch (error) {
      const { code } = error as EverwireError
      count(figures.failures, code ?? String(error))
      // What may have happened is neither accepted nor refused.
      if (code !== 'outcome-unknown') ledger.refused(channel, publisher, n)
    } finally {
      open--
      figures.answers.push({ ms: performance.now() - began, accepted, transport })
    }
  }

  const read = (member: string, client: Client, name: string): Promise<void> => {
    const channel = client.channel(name)
    let known = false
    // Whatever comes before the promise is settled shows as well that the subscription was accepted.
    const accepted = () => {
      if (known) return
      known = true
      ledger.subscribed(member, name)
      if (channel.position) offsets.started(member, name, channel.position)
    }
    channel.on(event, (data, { position }) => {
      const { publisher, n } = data as { publisher: string; n: number }
      // The position is beyond this publication by now: where it started cannot be said any more.
      accepted()
      ledger.received(member, name, publisher, n)
      if (position) offsets.received(member, name, position, publisher, n)
    })
    channel.on('gap', ({ reason }) => {
      accepted()
      ledger.gap(member, name, reason)
      count(figures.gaps, `${isHistory(name) ? 'history' : 'live'} ${reason}`)
      offsets.gap(member, name)
      trace(`${member} was told a gap in ${name}: ${reason}`)
      gap(member, name, reason)
    })
    return channel.subscribe().then(accepted)
  }

  const watchOutages = ({ name, client }: Member) => {
    let since: number | undefined
    client.on('state', ({ state, transport, error }) => {
      if (state === 'reconnecting' && since === undefined)
        trace(`${name} was disconnected: ${error?.code} ${error?.message}`)
      if (state !== 'connected') since ??= performance.now()
      else if (since !== undefined) {
        const ms = performance.now() - since
        trace(`${name} is back on ${transport} after ${ms.toFixed(0)} ms, session ${client.stats().sessions}`)
        figures.outages.push(ms)
        since = undefined
      }
    })
  }

  const publishAs: Crowd['publishAs'] = ({ name, client }, channel) =>
    publish(
      name,
      channel,
      (to, ...publication) => client.channel(to).publish(...publication),
      client.transport ?? 'none',
    )

  return {
    members,
    figures,
    offsets,
    get published() {
      return published
    },
    publish,
    publishAs,
    async join(name, url, ...names) {
      const client = createClient({
        url,
        transports: names.map((transport) => transports[transport]()),
        random: random.fork(name).next,
        maxBackoffMs: 2_000,
        // What gathers while a server is away.
        queueSize: 10_000,
        queueBytes: 16_777_216,
      })
      const channels: string[] = []
      const member: Member = {
        name,
        client,
        channels,
        subscribe(channel) {
          channels.push(channel)
          return read(name, client, channel)
        },
      }
      members.push(member)
      await connected(client, `${name} on ${names.join()}`)
      watchOutages(member)
      return member
    },
    publishSteadily(perSecond, channels, taken, publishers = members) {
      const began = performance.now()
      let sent = 0
      return every(tickMs, () => {
        const due = ((performance.now() - began) / 1_000) * perSecond
        while (sent < due) {
          const [member, channel] = [taken.pick(publishers), taken.pick(channels)]
          for (let left = Math.ceil(taken.next() * mostAtOnce); left > 0; left--, sent++)
            void publishAs(member, channel)
        }
      })
    },
    every,
    rest() {
      for (const timer of timers) clearInterval(timer)
    },
    whole: (timeoutMs) =>
      until('everyone connected, and reading again', () => members.every(isWhole), timeoutMs),
    answered: () => until('an answer to each publication', () => open === 0, answerMs),
    moves: () =>
      members.reduce((sum, { client }) => sum + client.stats().sessions + client.stats().resumes, 0),
    sessions: () => members.reduce((sum, { client }) => sum + client.stats().sessions, 0),
    sessionGaps() {
      const gaps = { least: 0, most: 0 }
      for (const { client, channels } of members) {
        const lost = client.stats().sessions - 1
        const live = channels.filter((name) => !isHistory(name)).length
        gaps.most += lost * live
        if (lost > 0) gaps.least += live
      }
      return gaps
    },
    close() {
      for (const { client } of members) client.close()
    },
  }
}

const connected = (client: Client, who: string): Promise<void> =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      off()
      reject(new Error(`${who}: not connected within ${answerMs} ms: ${client.explain().sentence}`))
    }, answerMs)
    const off = client.on('state', ({ state }) => {
      if (state !== 'connected') return
      clearTimeout(timer)
      off()
      resolve()
    })
    client.connect()
  })

export const isWhole = ({ client, channels }: Member): boolean =>
  client.state === 'connected' && channels.every((name) => client.channel(name).subscribed)
