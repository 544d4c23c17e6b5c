import { createLedger, type Ledger, type Verdict } from '@everwire/testkit/ledger'
import { startNats, type Nats, type NatsOptions } from '@everwire/testkit/nats-server'
import { createRandom, type Random } from '../random.js'
import { createCrowd, transportNames, type Crowd, type TransportName } from './crowd.js'
import { formatFigures, inSeconds } from './figures.js'
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
  /** Ends something with the stage; what came last ends first, all of it before nodes and NATS. */
  closing(close: () => Promise<unknown>): void
  /** A fault beside those that the ledger finds. */
  expect(condition: boolean, otherwise: string): void
  /** What was found, once everything has had the time to arrive. */
  judge(): Promise<Judgement>
  close(): Promise<void>
}

export interface GatherOptions {
  members: number
  /** What clients connect to, in turn. */
  nodes: readonly { readonly url: string }[]
  /** What the clients can do, in turn. @default one transport each */
  transports?: readonly (readonly TransportName[])[]
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

const alone = transportNames.map((name) => [name])
/** A held poll whose answer got lost takes so long until its client asks again; a short run does not wait for that. */
const arriveMs = { brief: 10_000, full: 40_000 }
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
  const running: { nats?: Nats; nodes: NodeProcess[]; closing: (() => Promise<unknown>)[] } = {
    nodes: [],
    closing: [],
  }

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
    async gather({ members, nodes, transports = alone, channels, reading }) {
      const choice = random.fork('gather')
      const names = Array.from({ length: members }, (_, i) => `c${i + 1}`)
      await Promise.all(
        names.map(async (name, i) => {
          const some = choice.shuffled(channels).slice(0, reading)
          const node = nodes[i % nodes.length]!
          // Each transport on each node.
          const transport = transports[Math.floor(i / nodes.length) % transports.length]!
          const member = await crowd.join(name, node.url, ...transport)
          await Promise.all(some.map((channel) => member.subscribe(channel)))
        }),
      )
    },
    closing: (close) => void running.closing.unshift(close),
    expect(condition, otherwise) {
      if (!condition) faults.push(otherwise)
    },
    async judge() {
      crowd.rest()
      await crowd.answered().catch((error: Error) => void faults.push(error.message))
      const began = performance.now()
      let verdict = weigh()
      let arrivedMs = 0
      // Looked at once more when all is well, for what comes twice.
      for (let well = 0; well < 2 && performance.now() - began < arriveMs[brief ? 'brief' : 'full'];) {
        await new Promise((resolve) => setTimeout(resolve, lookMs))
        verdict = weigh()
        if (verdict.lost > 0) arrivedMs = performance.now() - began
        well = verdict.lost === 0 ? well + 1 : 0
      }
      const { published, accepted, received, told, phantoms } = verdict
      const figures = [
        `published ${published} accepted ${accepted} received ${received} told ${told}`,
        formatFigures(crowd.figures),
        `all had arrived ${inSeconds(arrivedMs)} after the last answer`,
      ].join(' · ')
      if (accepted === 0) faults.push('nothing was accepted: this shows nothing')
      if (phantoms > 0)
        faults.push(`${phantoms} publications came though they were refused or never published`)
      return { verdict, faults, figures }
    },
    async close() {
      crowd.rest()
      crowd.close()
      for (const close of running.closing) await close()
      await Promise.all(running.nodes.map((node) => node.kill()))
      await running.nats?.stop()
    },
  }
}
