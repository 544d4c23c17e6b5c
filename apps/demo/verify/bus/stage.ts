import { createLedger, type Ledger, type Verdict } from '@everwire/testkit/ledger'
import { startNats, type Nats, type NatsOptions } from '@everwire/testkit/nats-server'
import { createRandom, type Random } from '../support/random.js'
import { createCrowd, transportNames, type Crowd, type TransportName } from './crowd.js'
import { startNode, type NodeProcess } from './node-process.js'
import { isHistory, type NodeSabotage, type NodeSettings } from './node-settings.js'

/** What a scenario thinks of a gap: told in error always, only where nothing is missing, or never. */
export type GapRule = 'false' | 'if-nothing-is-missing' | 'fine'

export interface StageOptions {
  scenario: string
  seed: number
  brief: boolean
  sabotage: NodeSabotage | undefined
  /** Of gaps in channels with history or live ones, by reason. What is not named is told in error. */
  gaps: Readonly<Record<string, GapRule>>
  say(text: string): void
  /** What helps to find out what happened. */
  trace(text: string): void
}

/** What a scenario plays on: NATS, nodes, and a crowd of clients, each of which is ended with the stage. */
export interface Stage {
  readonly random: Random
  readonly brief: boolean
  readonly crowd: Crowd
  readonly ledger: Ledger
  say(text: string): void
  nats(options?: NatsOptions): Promise<Nats>
  /** Starts one node for each list of NATS servers. */
  nodes(servers: readonly (readonly string[])[], settings?: Partial<NodeSettings>): Promise<NodeProcess[]>
  /** So many clients, on the nodes and transports in turn, each of which reads some of the channels. */
  gather(options: GatherOptions): Promise<void>
  /** A fault beside those that the ledger finds. */
  expect(condition: boolean, otherwise: string): void
  /** What was found, once everything has had the time to arrive. */
  judge(): Promise<Judgement>
  close(): Promise<void>
}

export interface GatherOptions {
  members: number
  nodes: readonly NodeProcess[]
  transports?: readonly TransportName[]
  channels: readonly string[]
  /** Channels that each reads. */
  reading: number
}

export interface Judgement {
  verdict: Verdict
  /** Beside what the verdict says. */
  faults: string[]
  figures: string
}

const arriveMs = 10_000
const lookMs = 1_000

export function setStage({ scenario, seed, brief, sabotage, gaps, say, trace }: StageOptions): Stage {
  const random = createRandom(seed).fork(scenario)
  const ruleOf = (channel: string, reason: string): GapRule =>
    gaps[`${isHistory(channel) ? 'history' : 'live'} ${reason}`] ?? 'false'
  const ledger = createLedger({
    totalOrder: isHistory,
    // What is false anyway is counted here.
    mayTell: (channel, reason) => ruleOf(channel, reason) !== 'if-nothing-is-missing',
  })
  const faults: string[] = []
  const falseGaps: string[] = []
  const crowd = createCrowd({
    ledger,
    random: random.fork('clients'),
    trace,
    gap(subscriber, channel, reason) {
      if (ruleOf(channel, reason) === 'false')
        falseGaps.push(`${channel}: ${subscriber} was told a gap (${reason}), which nothing here may cause`)
    },
  })
  const running: { nats?: Nats; nodes: NodeProcess[] } = { nodes: [] }

  const weigh = (): Verdict => {
    const verdict = ledger.verdict()
    const offsets = crowd.offsets.faults()
    verdict.falseGaps += falseGaps.length
    verdict.lost = Math.max(verdict.lost, offsets.lost)
    verdict.misordered = Math.max(verdict.misordered, offsets.misordered)
    verdict.details = [...falseGaps.slice(0, 10), ...offsets.details, ...verdict.details]
    return verdict
  }

  return {
    random,
    brief,
    crowd,
    ledger,
    say,
    async nats(options) {
      running.nats = await startNats(options)
      return running.nats
    },
    async nodes(servers, settings) {
      const started = servers.map((urls, index) =>
        startNode(`${scenario}-${index + 1}`, random.fork(`node ${index}`), {
          servers: urls,
          sabotage,
          ...settings,
        }),
      )
      // All of them, so that none is left behind when one fails.
      for (const result of await Promise.allSettled(started))
        if (result.status === 'fulfilled') running.nodes.push(result.value)
      return await Promise.all(started)
    },
    async gather({ members, nodes, transports = transportNames, channels, reading }) {
      const choice = random.fork('gather')
      const names = Array.from({ length: members }, (_, i) => `c${i + 1}`)
      await Promise.all(
        names.map(async (name, i) => {
          const some = choice.shuffled(channels).slice(0, reading)
          const node = nodes[i % nodes.length]!
          // Each transport on each node.
          const transport = transports[Math.floor(i / nodes.length) % transports.length]!
          const member = await crowd.join(name, node.url, transport)
          await Promise.all(some.map((channel) => member.subscribe(channel)))
        }),
      )
    },
    expect(condition, otherwise) {
      if (!condition) faults.push(otherwise)
    },
    async judge() {
      await crowd.answered()
      const deadline = performance.now() + arriveMs
      let verdict = weigh()
      // Looked at once more when all is well, for what comes twice.
      for (let well = 0; well < 2 && performance.now() < deadline;) {
        await new Promise((resolve) => setTimeout(resolve, lookMs))
        verdict = weigh()
        well = verdict.lost === 0 ? well + 1 : 0
      }
      const { published, accepted, received, told, phantoms } = verdict
      const { gaps: byReason, failures, longestOutageMs, slowestAnswerMs } = crowd.figures
      const figures = [
        `published ${published} accepted ${accepted} received ${received} told ${told}`,
        `gaps ${listed(byReason)}`,
        `not accepted ${listed(failures)}`,
        `longest outage ${inSeconds(longestOutageMs)}`,
        `slowest answer ${inSeconds(slowestAnswerMs)}`,
      ].join(' · ')
      if (accepted === 0) faults.push('nothing was accepted: this shows nothing')
      if (phantoms > 0)
        faults.push(`${phantoms} publications came though they were refused or never published`)
      return { verdict, faults, figures }
    },
    async close() {
      crowd.close()
      await Promise.all(running.nodes.map((node) => node.kill()))
      await running.nats?.stop()
    },
  }
}

const listed = (counts: Readonly<Record<string, number>>) =>
  Object.entries(counts)
    .map(([name, number]) => `${name} ${number}`)
    .join(', ') || 'none'

const inSeconds = (ms: number) => `${(ms / 1_000).toFixed(1)} s`
