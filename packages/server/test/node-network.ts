import {
  EverwireError,
  type Bus,
  type BusContext,
  type HistoryClass,
  type LiveListener,
  type LivePublication,
  type NodeAnswer,
  type Nodes,
  type StoredListener,
} from '@everwire/core'
import type { FakeClock } from '@everwire/testkit'
import { memoryBus } from '../src/index.js'

/** One message between two nodes. */
export interface NodeMessage {
  readonly type: 'request' | 'answer' | 'tell'
  readonly kind: string
  readonly from: string
  readonly to: string
  readonly body: unknown
}

/** What becomes of messages between nodes; chances are from 0 to 1. */
export interface Faults {
  loss: number
  /** Comes twice: answers, and what can be heard twice without harm though no bus does it. */
  doubled: number
  /** Comes after `lateMs` at most, instead of `delayMs` at most. */
  late: number
  delayMs: number
  lateMs: number
  /** How much longer what is stored is on its way to the store. @default 0 */
  storeMs?: number
}

export const good: Faults = { loss: 0, doubled: 0, late: 0, delayMs: 20, lateMs: 0 }

export interface NodeNetwork {
  /** The bus of one more node. */
  join(): Bus & { readonly nodes: Nodes }
  /** What holds for all messages from now on. */
  faults: Faults
  /** Asked of each message first: lost, or how many milliseconds it takes; undefined as `faults` say. */
  rule: ((message: NodeMessage) => 'lose' | number | undefined) | undefined
  /** All requests and what is told, as they were sent. */
  readonly sent: NodeMessage[]
  /** Called after each message that arrived. */
  observe: () => void
  /** The node is gone from one moment to the next. */
  crash(node: string): void
  cut(node: string): void
  heal(node: string): void
  /** What is stored, as the server of the bus has it. */
  readonly store: Bus
  random(): number
}

interface Listening {
  readonly channel: string
  readonly listener: LiveListener
  /** Last number of each publisher that came. */
  readonly heard: Map<string, number>
  /** What each publisher had published, in any channel, when this began; undefined before. */
  baseline: ReadonlyMap<string, number> | undefined
  /** When each publisher knows of it. */
  readonly knownAt: Map<string, number>
  /** Last number of each publisher that is lost, and of which nobody knows yet. */
  readonly missed: Map<string, number>
}

/** Messages from one node to another that keep their order. */
interface Lane {
  readonly queue: { dueAt: number; arrive(): void; lost(): void }[]
  lastAt: number
  armed: boolean
}

interface Member {
  readonly id: string
  readonly handlers: Map<string, NodeAnswer>
  readonly heard: Set<(connected: boolean) => void>
  readonly met: Set<(node: string) => void>
  /** When it could hear the others, and who was silent then. */
  readonly openedAt: number
  readonly silent: ReadonlySet<string>
  /** Questions that wait for a node. */
  readonly asks: Set<{ node: string; fail(): void }>
  readonly gone: Set<string>
  readonly listening: Set<Listening>
  readonly lanes: Map<string, Lane>
  readonly previous: Map<string, number>
  /** What waits until the node is joined again. */
  readonly held: (() => void)[]
  number: number
  /** When the last of what was sent to a node arrives. */
  readonly busyUntil: Map<string, number>
  state: 'alive' | 'closed' | 'crashed'
  cut: boolean
  /** Joined again, and not yet told what it missed. */
  catchingUp: boolean
}

const beatMs = 500
const nodeTimeoutMs = 5_000
const maxBytes = 1_000_000

/**
 * Several nodes in one process, and a hostile network between them: what `Nodes` and `Bus` promise holds, and nothing
 * beyond it. Live publications keep their order per publisher, with a delay of their own at each node; history is one
 * store for all, heard with a delay.
 */
export function createNodeNetwork(clock: FakeClock, random: () => number): NodeNetwork {
  const store = memoryBus({ clock, partitions: 2 })
  const members = new Map<string, Member>()
  const sent: NodeMessage[] = []

  const isUp = ({ state, cut }: Member) => state === 'alive' && !cut
  const soon = () => random() * network.faults.delayMs
  const never = new Promise<never>(() => {})
  const sleep = (ms: number) => new Promise<void>((resolve) => void clock.after(ms, resolve))

  const network: NodeNetwork = {
    faults: good,
    rule: undefined,
    sent,
    observe() {},
    store,
    random,
    join,
    crash(id) {
      const member = members.get(id)!
      member.state = 'crashed'
      for (const other of members.values()) {
        const lane = other.lanes.get(id)
        // Its server may not have got everything: a part is lost, the last of it.
        if (lane) for (const { lost } of lane.queue.splice(Math.floor(random() * lane.queue.length))) lost()
        watch(other, member)
      }
    },
    cut(id) {
      const member = members.get(id)!
      if (!isUp(member)) return
      member.cut = true
      for (const ask of [...member.asks]) ask.fail()
      for (const other of members.values()) watch(other, member)
      for (const heard of member.heard) heard(false)
    },
    heal(id) {
      const member = members.get(id)!
      if (member.state !== 'alive' || !member.cut) return
      member.cut = false
      member.catchingUp = true
      for (const other of members.values()) if (!isUp(other)) watch(member, other)
      for (const heard of member.heard) heard(true)
      for (const run of member.held.splice(0)) run()
      clock.after(soon(), () => {
        for (const other of members.values()) other.gone.delete(id)
      })
      // The others are asked what they published last.
      clock.after(soon() + soon(), () => {
        if (!isUp(member)) return
        for (const listening of member.listening) tellMissed(listening)
        member.catchingUp = false
      })
    },
  }

  /** The last of what each publisher said did not come: no number will show it. */
  function tellMissed({ missed, heard, baseline, listener }: Listening) {
    for (const [run, number] of missed) {
      missed.delete(run)
      if (!baseline || number <= (baseline.get(run) ?? 0)) continue
      heard.set(run, number)
      listener.gap({ run, number })
    }
  }

  function hear({ heard, baseline, missed, listener }: Listening, publication: LivePublication) {
    const { run, number, previous } = publication
    const isFirst = !heard.has(run)
    heard.set(run, number)
    missed.delete(run)
    // That the first ones were lost only the bus can see: who listens has nothing before them to compare with.
    if (isFirst && baseline && previous > (baseline.get(run) ?? 0)) listener.gap()
    listener.publication(publication)
  }

  /** Who is silent for long enough counts as dead. */
  function watch(member: Member, other: Member) {
    if (member === other) return
    clock.after(nodeTimeoutMs + random() * beatMs, () => {
      if (!isUp(member) || isUp(other) || member.gone.has(other.id)) return
      bury(member, other.id)
      // It cannot be asked any more what it published last.
      for (const { heard, missed, listener } of member.listening) {
        const isDoubtful = heard.has(other.id) || missed.has(other.id)
        missed.delete(other.id)
        if (isDoubtful) listener.gap()
      }
    })
  }

  function bury(member: Member, id: string) {
    member.gone.add(id)
    for (const ask of [...member.asks]) if (ask.node === id) ask.fail()
  }

  /** One message, to be heard once, twice or never. */
  function post(message: NodeMessage, arrive: () => void) {
    const from = members.get(message.from)!
    const to = members.get(message.to)
    if (message.type !== 'answer') sent.push(message)
    if (!isUp(from) || !to) return
    const { loss, doubled, late, delayMs, lateMs } = network.faults
    const ruled = network.rule?.(message)
    if (ruled === 'lose') return
    const times = ruled === undefined && message.kind !== 'poll' && random() < doubled ? 2 : 1
    for (let n = 0; n < times; n++) {
      if (ruled === undefined && random() < loss) continue
      const ms = ruled ?? random() * (random() < late ? lateMs : delayMs)
      from.busyUntil.set(to.id, Math.max(from.busyUntil.get(to.id) ?? 0, clock.now() + ms))
      clock.after(ms, () => {
        if (!isUp(to)) return
        arrive()
        network.observe()
      })
    }
  }

  function laneTo(to: Member, from: string): Lane {
    let lane = to.lanes.get(from)
    if (!lane) to.lanes.set(from, (lane = { queue: [], lastAt: 0, armed: false }))
    return lane
  }

  /** Something that keeps its place among what this node broadcasts. */
  function follow(from: Member, to: Member, arrive: () => void, lost: () => void = () => {}) {
    const lane = laneTo(to, from.id)
    lane.lastAt = Math.max(lane.lastAt, clock.now() + soon())
    lane.queue.push({ dueAt: lane.lastAt, arrive, lost })
    const next = () => {
      const first = lane.queue[0]
      if (lane.armed || !first) return
      lane.armed = true
      clock.after(first.dueAt - clock.now(), () => {
        lane.armed = false
        const due = lane.queue.shift()
        if (isUp(to)) due?.arrive()
        else due?.lost()
        next()
      })
    }
    next()
  }

  function join(): Bus & { readonly nodes: Nodes } {
    let self: Member | undefined
    const handlers = new Map<string, NodeAnswer>()
    const heard = new Set<(connected: boolean) => void>()
    const met = new Set<(node: string) => void>()
    const others = () => [...members.values()].filter(({ id }) => id !== self?.id && !self?.gone.has(id))
    const unavailable = () => new EverwireError('temporary', 'this node is cut off')
    /** @throws what a bus throws; a node that has crashed hears nothing more */
    const opened = async (): Promise<Member> => {
      if (!self || self.state === 'crashed') return await never
      if (self.state === 'closed' || self.cut) throw unavailable()
      return self
    }
    /** The way there or back, for a node that may crash meanwhile. */
    const way = async (member: Member) => {
      await sleep(soon())
      if (member.state === 'crashed') await never
    }

    const nodes: Nodes = {
      get others() {
        return self?.state === 'alive' ? others().map(({ id }) => id) : []
      },
      get connected() {
        return self !== undefined && isUp(self)
      },
      maxBytes,
      isGone(node) {
        if (!self || node === self.id) return false
        if (!members.has(node)) return isUp(self)
        // Who has just begun cannot know of a silence how long it has been.
        const isPatient = clock.now() - self.openedAt <= 2 * beatMs
        return self.gone.has(node) && !(isPatient && self.silent.has(node))
      },
      // Nobody waits for the verdict here: clients come again at once.
      verdictMs: () => 0,
      handle: (kind, answer) => void handlers.set(kind, answer),
      async request(node, kind, body, timeoutMs) {
        const member = await opened()
        return await new Promise((resolve, reject) => {
          const fail = () => settle(() => reject(new EverwireError('temporary', `${node} does not answer`)))
          const settle = (how: () => void) => {
            cancel()
            member.asks.delete(ask)
            if (member.state !== 'crashed') how()
          }
          const cancel = clock.after(timeoutMs, fail)
          const ask = { node, fail }
          member.asks.add(ask)
          const text = JSON.stringify(body)
          const question = { type: 'request', kind, from: member.id, to: node, body } as const
          const target = members.get(node)
          // The server knows that nobody listens there: a suspicion, told at once.
          if (!target || !isUp(target)) return void clock.after(soon(), fail)
          post(question, () => {
            void (async () => target.handlers.get(kind)!(JSON.parse(text), member.id))().then(
              (answer) => {
                const said = JSON.stringify(answer ?? null)
                const back = { type: 'answer', kind, from: node, to: member.id, body: answer } as const
                // Who asks no more does not hear it.
                post(back, () => member.asks.has(ask) && settle(() => resolve(JSON.parse(said))))
              },
              () => {},
            )
          })
        })
      },
      tell(kind, body, node) {
        const member = self
        if (!member || !isUp(member)) return
        const text = JSON.stringify(body)
        for (const to of node === undefined ? others() : [members.get(node)])
          if (to)
            post({ type: 'tell', kind, from: member.id, to: to.id, body }, () => {
              void to.handlers.get(kind)?.(JSON.parse(text), member.id)
            })
      },
      async barrier() {
        const member = await opened()
        const answered = new Map<string, number>()
        for (const deadline = clock.now() + nodeTimeoutMs + 3 * beatMs; ;) {
          const missing = [...others(), member].filter(({ id }) => !answered.has(id))
          if (missing.length === 0 && !member.catchingUp) return answered
          if (member.cut || member.state === 'closed') throw unavailable()
          if (member.state === 'crashed') await never
          if (clock.now() >= deadline) throw new EverwireError('temporary', 'nodes do not answer')
          const round = missing.map(
            (other) =>
              new Promise<void>((resolve) => {
                clock.after(soon(), () => {
                  if (!isUp(other) || !isUp(member)) return
                  const { number } = other
                  follow(other, member, () => {
                    answered.set(other.id, number)
                    resolve()
                  })
                })
              }),
          )
          await Promise.race([Promise.all(round), sleep(beatMs)])
          if (missing.length === 0) await sleep(beatMs / 10)
        }
      },
      onConnection: (listener) => void heard.add(listener),
      onNode: (listener) => void met.add(listener),
    }

    return {
      name: 'simulated',
      nodes,
      async open({ nodeId }: BusContext) {
        const silent = [...members.values()].filter(({ state }) => state !== 'alive').map(({ id }) => id)
        self = {
          id: nodeId,
          handlers,
          heard,
          asks: new Set(),
          // Whoever is silent was never known.
          gone: new Set(silent),
          silent: new Set(silent),
          openedAt: clock.now(),
          met,
          listening: new Set(),
          lanes: new Map(),
          previous: new Map(),
          held: [],
          busyUntil: new Map(),
          number: 0,
          state: 'alive',
          cut: false,
          catchingUp: false,
        }
        members.set(nodeId, self)
        for (const other of others()) {
          for (const hear of met) hear(other.id)
          for (const hear of other.met) hear(nodeId)
        }
      },
      async declare() {},

      async store(channel, history, message, options) {
        const member = await opened()
        await sleep(network.faults.storeMs ?? 0)
        await way(member)
        if (member.cut) throw unavailable()
        const position = await store.store(channel, history, message, options)
        await way(member)
        // Stored it is: the bus asks again until it knows.
        while (member.cut) await new Promise<void>((resolve) => member.held.push(resolve))
        return position
      },

      async broadcast(channel, message) {
        const member = await opened()
        const number = ++member.number
        const publication = {
          ...message,
          run: member.id,
          number,
          previous: member.previous.get(channel) ?? 0,
        }
        member.previous.set(channel, number)
        const now = clock.now()
        for (const to of members.values())
          for (const listening of to.listening) {
            if (listening.channel !== channel || (listening.knownAt.get(member.id) ?? 0) > now) continue
            const arrive = () => {
              if (!to.listening.has(listening)) return
              hear(listening, publication)
              network.observe()
            }
            follow(member, to, arrive, () => void listening.missed.set(member.id, number))
          }
        await way(member)
      },

      async follow(channel: string, history: HistoryClass, listener: StoredListener) {
        const member = await opened()
        await way(member)
        let stopped = false
        let tail: Promise<void> = Promise.resolve()
        let lastAt = 0
        /** In order, each with a delay of its own; while the node is cut off it waits. */
        const queued = (run: () => void) => {
          lastAt = Math.max(lastAt, clock.now() + soon())
          const arrived = sleep(lastAt - clock.now())
          tail = tail.then(async () => {
            await arrived
            while (member.cut) await new Promise<void>((resolve) => member.held.push(resolve))
            if (member.state !== 'alive' || stopped) return
            run()
            network.observe()
          })
          return tail
        }
        const begun = new Promise<void>((resolve) => {
          void store
            .follow(channel, history, {
              start: (position) => void queued(() => listener.start(position)).then(resolve),
              publication: (publication) => void queued(() => listener.publication(publication)),
              gap: (reason, position) => void queued(() => listener.gap(reason, position)),
            })
            .then((undo) => {
              stop = undo
              if (stopped) undo()
            })
        })
        let stop = () => {}
        await begun
        return () => {
          stopped = true
          stop()
        }
      },

      async listen(channel, listener) {
        const member = await opened()
        const knownAt = new Map<string, number>()
        const listening: Listening = {
          channel,
          listener,
          heard: new Map(),
          baseline: undefined,
          knownAt,
          missed: new Map(),
        }
        for (const { id } of members.values()) knownAt.set(id, clock.now() + soon())
        member.listening.add(listening)
        try {
          // Longer than it takes until all know of it.
          await sleep(network.faults.delayMs)
          listening.baseline = (await nodes.barrier()) as ReadonlyMap<string, number>
        } catch (error) {
          member.listening.delete(listening)
          throw error
        }
        return () => void member.listening.delete(listening)
      },

      async read(channel, history, range) {
        const member = await opened()
        await way(member)
        if (member.cut) throw unavailable()
        const page = await store.read(channel, history, range)
        await way(member)
        return page
      },

      async close() {
        if (!self || self.state !== 'alive') return
        self.state = 'closed'
        for (const ask of [...self.asks]) ask.fail()
        const { id } = self
        for (const other of members.values()) {
          // Good-bye, after everything else that it said.
          if (other === self) continue
          const lane = laneTo(other, id)
          lane.lastAt = Math.max(lane.lastAt, self.busyUntil.get(other.id) ?? 0)
          follow(self, other, () => bury(other, id))
          watch(other, self)
        }
      },
    }
  }

  return network
}
