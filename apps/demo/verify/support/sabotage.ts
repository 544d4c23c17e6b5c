import type { Bus } from '@everwire/core'

/** Ways to break the product on purpose, so that a verification shows that it would notice. */
export const sabotages = ['drop', 'double', 'reorder', 'hide-gap'] as const
export type Sabotage = (typeof sabotages)[number]

/** One in so many publications. */
const every = 97

/** Breaks a bus that runs, by wrapping its methods: nothing in the product knows of this. */
export function sabotageBus(bus: Bus, sabotage: Sabotage, channels: (channel: string) => boolean): void {
  if (sabotage === 'hide-gap') return hideGaps(bus)
  sabotageStored(bus, sabotage, channels)
  sabotageLive(bus, sabotage, channels)
}

/** Whoever should be told of a gap goes on as if nothing were missing. */
function hideGaps(bus: Bus): void {
  const { read, follow, listen } = bound(bus)
  bus.read = async (...args) => ({ ...(await read(...args)), complete: true })
  bus.follow = (channel, history, listener) =>
    follow(channel, history, {
      start: (position) => listener.start(position),
      publication: (publication) => listener.publication(publication),
      gap: (_reason, position) => listener.start(position),
    })
  bus.listen = (channel, listener) =>
    listen(channel, {
      // 0 is no claim: the hub has nothing to compare with.
      publication: (publication) => listener.publication({ ...publication, previous: 0 }),
      gap() {},
    })
}

function sabotageStored(bus: Bus, sabotage: Sabotage, channels: (channel: string) => boolean): void {
  const { store, read } = bound(bus)
  let count = 0
  const held = new Map<string, () => Promise<unknown>>()

  bus.store = async (channel, history, message, options) => {
    if (!channels(channel)) return await store(channel, history, message, options)
    const hit = ++count % every === 0
    if (sabotage === 'drop' && hit) {
      // Acknowledged, and never stored.
      const { epoch, tail } = await read(channel, history, { before: Number.MAX_SAFE_INTEGER, limit: 1 })
      return { epoch, offset: tail }
    }
    if (sabotage === 'double' && hit) await store(channel, history, message)
    if (sabotage === 'reorder' && hit) {
      // Acknowledged, and stored after the next one of the same channel.
      held.set(channel, () => store(channel, history, message, options))
      const { epoch, tail } = await read(channel, history, { before: Number.MAX_SAFE_INTEGER, limit: 1 })
      return { epoch, offset: tail }
    }
    const position = await store(channel, history, message, options)
    const late = held.get(channel)
    held.delete(channel)
    await late?.()
    return position
  }
}

function sabotageLive(bus: Bus, sabotage: Sabotage, channels: (channel: string) => boolean): void {
  const { broadcast } = bound(bus)
  let count = 0
  const held = new Map<string, () => Promise<void>>()

  bus.broadcast = async (channel, message) => {
    if (!channels(channel)) return await broadcast(channel, message)
    const hit = ++count % every === 0
    if (sabotage === 'drop' && hit) return
    if (sabotage === 'double' && hit) await broadcast(channel, message)
    if (sabotage === 'reorder' && hit) {
      held.set(channel, () => broadcast(channel, message))
      return
    }
    await broadcast(channel, message)
    const late = held.get(channel)
    held.delete(channel)
    await late?.()
  }
}

const bound = (bus: Bus) => ({
  store: bus.store.bind(bus),
  read: bus.read.bind(bus),
  broadcast: bus.broadcast.bind(bus),
  follow: bus.follow.bind(bus),
  listen: bus.listen.bind(bus),
})
