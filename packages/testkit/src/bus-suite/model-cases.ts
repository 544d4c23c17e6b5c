import type { Bus } from '@everwire/core'
import fc from 'fast-check'
import type { Cases } from './types.js'
import { until } from '../transport-suite/until.js'
import { createWorld, follow, storeEach, type Followed } from './world.js'

const history = { size: 6, ttlMs: 600_000 }
const channelCount = 3
const idCount = 4

/** What a bus is asked to do; numbers choose among what there is. */
type Step =
  | { kind: 'store'; node: number; channel: number; id: number | undefined }
  | { kind: 'stores'; node: number; channel: number; count: number }
  | { kind: 'follow'; node: number; channel: number }
  | { kind: 'undo'; which: number }
  | { kind: 'after'; node: number; channel: number; from: number; limit: number; to: number | undefined }
  | { kind: 'before'; node: number; channel: number; from: number; limit: number }

/** A channel as it must be. */
interface ModelChannel {
  name: string
  /** Offsets of all that was ever stored. */
  stored: number[]
  ids: Map<number, number>
}

interface ModelFollower {
  followed: Followed
  channel: ModelChannel
  /** How much of the channel was stored when it began, and when it ended. */
  from: number
  to: number | undefined
}

/** Any order of storing, following and reading, compared with a list in memory. */
export const modelCases: Cases = {
  async 'whatever is stored, followed and read in whichever order, is what a list would give'(t, suite) {
    const { buses } = await createWorld(t, suite, { nodes: suite.nodes ? 2 : 1 })
    const seed = process.env.EVERWIRE_SEED
    let run = 0
    // On one backend, in channels of its own each.
    const property = fc.asyncProperty(fc.array(stepOf(buses.length), { maxLength: 40 }), (steps) =>
      runSteps(buses, steps, ++run),
    )
    await fc.assert(property, {
      numRuns: Number(process.env.EVERWIRE_RUNS ?? 40),
      ...(seed === undefined ? {} : { seed: Number(seed) }),
    })
    t.ok(run > 0)
  },
}

function stepOf(nodes: number): fc.Arbitrary<Step> {
  const node = fc.nat({ max: nodes - 1 })
  const channel = fc.nat({ max: channelCount - 1 })
  const from = fc.nat({ max: 40 })
  const limit = fc.integer({ min: 1, max: 9 })
  const id = fc.option(fc.nat({ max: idCount - 1 }), { nil: undefined })
  return fc.oneof(
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('store'), node, channel, id }) },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constant('stores'),
        node,
        channel,
        count: fc.integer({ min: 2, max: 12 }),
      }),
    },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('follow'), node, channel }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('undo'), which: fc.nat({ max: 9 }) }) },
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constant('after'),
        node,
        channel,
        from,
        limit,
        to: fc.option(from, { nil: undefined }),
      }),
    },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('before'), node, channel, from, limit }) },
  )
}

async function runSteps(buses: readonly Bus[], steps: readonly Step[], run: number): Promise<void> {
  const channels = Array.from({ length: channelCount }, (_, index): ModelChannel => ({
    name: `model:${run}:${index}`,
    stored: [],
    ids: new Map(),
  }))
  const followers: ModelFollower[] = []
  const trace: string[] = []
  try {
    for (const step of steps) {
      trace.push(JSON.stringify(step))
      await runStep(buses, step, channels, followers)
    }
    for (const follower of followers) await checkFollower(follower)
  } catch (error) {
    throw new Error(`${(error as Error).message}\nafter\n${trace.join('\n')}`, { cause: error })
  } finally {
    for (const { followed } of followers) followed.undo()
  }
}

async function runStep(
  buses: readonly Bus[],
  step: Step,
  channels: readonly ModelChannel[],
  followers: ModelFollower[],
): Promise<void> {
  if (step.kind === 'undo') {
    const follower = followers[step.which]
    if (!follower || follower.to !== undefined) return
    follower.to = follower.channel.stored.length
    follower.followed.undo()
    return
  }
  const bus = buses[step.node]!
  const channel = channels[step.channel]!
  const { name, stored, ids } = channel
  if (step.kind === 'store') {
    const options = step.id === undefined ? {} : { id: `${name} ${step.id}` }
    const { offset } = await bus.store(name, history, { event: 'e' }, options)
    const known = step.id === undefined ? undefined : ids.get(step.id)
    if (known !== undefined) return check(offset === known, `a repeat is ${offset}, the first was ${known}`)
    check(offset > (stored.at(-1) ?? 0), `${offset} after ${stored.join()}`)
    stored.push(offset)
    if (step.id !== undefined) ids.set(step.id, offset)
  } else if (step.kind === 'stores') {
    const all = await Promise.all(
      Array.from({ length: step.count }, () => storeEach(bus, name, ['e'], history)),
    )
    const offsets = all.flat().sort((a, b) => a - b)
    check(offsets[0]! > (stored.at(-1) ?? 0), `${offsets.join()} after ${stored.join()}`)
    check(new Set(offsets).size === step.count, `twice: ${offsets.join()}`)
    stored.push(...offsets)
  } else if (step.kind === 'follow')
    followers.push({
      followed: await follow(bus, name, history),
      channel,
      from: stored.length,
      to: undefined,
    })
  else await checkRead(bus, step, channel)
}

async function checkRead(
  bus: Bus,
  step: Extract<Step, { kind: 'after' | 'before' }>,
  { name, stored }: ModelChannel,
): Promise<void> {
  const kept = stored.slice(-history.size)
  const removed = stored.at(-history.size - 1) ?? 0
  // An offset of the channel, or none that it ever had; the newest are of most interest.
  const at = (back: number) => (back === 0 ? 1_000_000_000 : (stored.at(-back) ?? 0))
  const { limit } = step
  if (step.kind === 'before') {
    const before = at(step.from)
    const page = await bus.read(name, history, { before, limit })
    same(page, kept.filter((offset) => offset < before).slice(-limit))
    return
  }
  const after = step.from === 0 ? 0 : at(step.from)
  const to = step.to === undefined ? undefined : at(step.to)
  const page = await bus.read(name, history, { after, limit, ...(to === undefined ? {} : { to }) })
  const rest = kept.filter((offset) => offset > after)
  const needed = rest.filter((offset) => offset <= (to ?? Infinity)).slice(0, limit)
  // Beyond `to` there may be more, of what follows.
  same(page, rest.slice(0, Math.max(needed.length, Math.min(limit, page.publications.length))))
  // What a bus cannot prove, as where a neighbour lost something, it may doubt; but not from what it still has on.
  if (page.complete) check(after >= removed, `complete after ${after}, though ${removed} is gone`)
  else check(!(after >= kept[0]!), `not complete after ${after}, of ${kept.join()}`)
  if (stored.length > 0) check(page.tail >= stored.at(-1)!, `tail ${page.tail} of ${kept.join()}`)
}

function same({ publications }: Awaited<ReturnType<Bus['read']>>, wanted: readonly number[]): void {
  const found = publications.map(({ offset }) => offset).join()
  check(found === wanted.join(), `read ${found} where ${wanted.join()} stand`)
}

async function checkFollower({ followed, channel, from, to }: ModelFollower): Promise<void> {
  const wanted = channel.stored.slice(from, to)
  // What was under way when it ended may have come or not.
  const gap = () => followed.heard.find(([kind]) => kind === 'gap')
  if (to === undefined)
    await until(
      () => followed.offsets().length >= wanted.length || gap(),
      () => `${followed.offsets().join()} where ${wanted.join()} were stored`,
    )
  const found = followed.offsets()
  const ended = to !== undefined && found.join() === wanted.slice(0, found.length).join()
  check(gap() === undefined, `a gap, though nothing was lost: ${JSON.stringify(followed.heard)}`)
  check(ended || found.join() === wanted.join(), `heard ${found.join()} where ${wanted.join()} were stored`)
  const [start] = followed.starts
  check(start!.offset >= (channel.stored[from - 1] ?? 0), `began at ${start!.offset}`)
  check(followed.starts.length === 1 && followed.heard[0]?.[0] === 'start', 'one start, before all else')
}

function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(what)
}
