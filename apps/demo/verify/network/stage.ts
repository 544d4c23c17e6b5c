import { setTimeout as sleep } from 'node:timers/promises'
import type { Explanation } from '@everwire/client'
import type { Browser } from 'playwright-core'
import { pollUntil } from '../support/until.js'
import type { Random } from '../support/random.js'
import { createChromiumVisitor } from './clients/chromium.js'
import type { ClientKind, Visit, Visitor, Way } from './clients/client.js'
import { createNodeVisitor } from './clients/node.js'
import { only, type Entry } from './entry.js'
import type { Path } from './paths/path.js'
import type { Scenario } from './scenario.js'
import { serverName, type LabServer, type Publisher } from './server.js'

export interface StageOptions {
  server: LabServer
  browser: Browser
  random: Random
  brief: boolean
  /** Nobody remembers anything: a sabotage. */
  forgetful: boolean
  say(text: string): void
}

/** All that is known of one visit, once it is over. */
export interface Record {
  scenario: Scenario
  kind: ClientKind
  /** 1 or 2. */
  number: number
  name: string
  jitter: number
  transport: string | undefined
  connectedMs: number | undefined
  firstMs: number | undefined
  explanation: Explanation
  entries: readonly Entry[]
  published: readonly Entry[]
  /** What went wrong beside what the entries show. */
  faults: string[]
}

interface Running {
  visit: Visit
  visitor: Visitor
  publisher: Publisher
  entries: Entry[]
  record: Record
}

const kinds: readonly ClientKind[] = ['node', 'chromium']
const firstMessageMs = 60_000
const settleMs = 60_000
const holdMs = { brief: 400, full: 2_500 }

/** Plays a scenario: every kind of client goes along its path twice. */
export async function play(scenario: Scenario, options: StageOptions): Promise<Record[]> {
  const { server, browser, forgetful } = options
  const path = await scenario.open(server)
  const visitors: Visitor[] = []
  try {
    for (const kind of kinds) {
      const way = path.ways[kind]
      if (!way || (scenario.clients && !scenario.clients.includes(kind))) continue
      visitors.push(await createVisitor(kind, way, browser))
    }
    const records: Record[] = []
    for (const number of [1, 2]) {
      records.push(...(await visitAll(scenario, number, path, visitors, options)))
      if (forgetful) for (const visitor of visitors) await visitor.forget()
    }
    return records
  } finally {
    for (const visitor of visitors) await visitor.close()
    await path.close()
  }
}

const createVisitor = async (kind: ClientKind, way: Way, browser: Browser): Promise<Visitor> =>
  kind === 'node' ? createNodeVisitor(way) : await createChromiumVisitor(browser, way)

async function visitAll(
  scenario: Scenario,
  number: number,
  path: Path,
  visitors: readonly Visitor[],
  { server, random, brief, say }: StageOptions,
): Promise<Record[]> {
  const running: Running[] = []
  const collect = async (one: Running) => {
    one.entries.push(...(await one.visit.take()))
    return one.entries
  }
  const publish = async (on: boolean) => {
    for (const { visit, publisher } of running) {
      publisher.publish(on)
      await visit.publish(on)
    }
  }
  const all: string[] = []
  try {
    // One after the other, so that none has to wait for another's start.
    for (const visitor of visitors) {
      const name = `${scenario.name}-${visitor.kind}-${number}`
      // Never so small that a wait of the backoff could not be told from none.
      const jitter = random.between(0.4, 1)
      const channel = `lab:${name}`
      const publisher = server.publisher(channel)
      const visit = await visitor.visit({ name, channel, jitter })
      const entries: Entry[] = []
      const faults: string[] = []
      const record = { scenario, kind: visitor.kind, number, name, jitter, entries, faults }
      running.push({ visit, visitor, publisher, entries, record: { ...record, published: [] } as never })
      publisher.publish(true)
      await visit.connect()
      const arrived = async () => (await visit.look()).firstMs !== undefined
      await pollUntil(`${visitor.kind}: the first message`, arrived, firstMessageMs).catch((error: Error) =>
        faults.push(error.message),
      )
      await visit.publish(true)
    }
    const hold = () => sleep(brief ? holdMs.brief : holdMs.full)
    const perform = scenario.play ?? (({ hold }) => hold())
    await perform({
      path,
      visits: running.map((one) => ({
        kind: one.visitor.kind,
        visit: one.visit,
        states: async () => only(await collect(one), 'state'),
      })),
      number,
      publish,
      hold,
      expect: (condition, otherwise) => void (condition || all.push(otherwise)),
      say: (text) => say(`${scenario.name}: ${text}`),
    }).catch((error: Error) => void all.push(error.message))
    await publish(false)
    for (const one of running) await settle(one)
    return await Promise.all(running.map((one) => finish(one, all, collect)))
  } finally {
    for (const { visit, publisher } of running) {
      publisher.publish(false)
      await visit.close().catch(() => {})
    }
  }
}

/** Until everything is answered, and everything accepted has arrived. What does not is the ledger's to judge. */
async function settle({ visit, publisher, record }: Running): Promise<void> {
  const isSettled = async () => {
    const { open, received, accepted, state } = await visit.look()
    const all = (received[serverName] ?? 0) >= publisher.accepted && (received[record.name] ?? 0) >= accepted
    return state === 'connected' && open === 0 && all
  }
  await pollUntil(`${record.kind}: everything answered and received`, isSettled, settleMs).catch(
    (error: Error) => record.faults.push(error.message),
  )
}

async function finish(
  one: Running,
  faults: readonly string[],
  collect: (one: Running) => Promise<Entry[]>,
): Promise<Record> {
  const { visit, publisher, record } = one
  const { transport, connectedMs, firstMs } = await visit.look()
  const explanation = await visit.explain()
  return {
    ...record,
    transport,
    connectedMs,
    firstMs,
    explanation,
    entries: await collect(one),
    published: publisher.entries,
    // Those of the whole path once, those of a client with that client.
    faults: [
      ...record.faults,
      ...faults.filter((fault) => !/^(node|chromium):/.test(fault) || fault.startsWith(`${record.kind}:`)),
    ],
  }
}
