import type { Bus } from '@everwire/core'

/** Ways to break the product on purpose, so that a verification shows that it would notice. */
export const sabotages = ['drop', 'double', 'reorder', 'hide-gap'] as const
export type Sabotage = (typeof sabotages)[number]

/** One in so many publications. */
const every = 97

/** Breaks a bus that runs, by wrapping its methods: nothing in the product knows of this. */
export function sabotageBus(bus: Bus, sabotage: Sabotage, channels: (channel: string) => boolean): void {
  const { store, read } = { store: bus.store.bind(bus), read: bus.read.bind(bus) }
  let count = 0
  let held: (() => Promise<unknown>) | undefined

  if (sabotage === 'hide-gap') {
    bus.read = async (...args) => ({ ...(await read(...args)), complete: true })
    return
  }
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
      held = () => store(channel, history, message, options)
      const { epoch, tail } = await read(channel, history, { before: Number.MAX_SAFE_INTEGER, limit: 1 })
      return { epoch, offset: tail }
    }
    const position = await store(channel, history, message, options)
    const late = held
    held = undefined
    await late?.()
    return position
  }
}
