import { customerOf, linesOf } from './samples.js'
import type { Letter, Order, Store } from './store.js'

const kept = { orders: 50, letters: 20 }
const firstItems = ['Desk lamp', 'Walnut desk', 'Office chair']

/** Newest first, and gone with the process. */
export function createMemoryStore(): Store {
  const orders: Order[] = []
  const letters = new Map<string, Letter[]>()
  let ids = 0

  const addOrder = (item: string) => {
    const id = ++ids
    const about = { customer: customerOf(id), lines: linesOf(id), cost: 10 * item.length }
    const order: Order = { id, item, status: 'new', updatedAt: Date.now(), ...about }
    orders.unshift(order)
    orders.splice(kept.orders)
    return order
  }
  for (const item of firstItems) addOrder(item)

  return {
    orders: async () => orders.map((order) => ({ ...order })),
    addOrder: async (item) => ({ ...addOrder(item) }),
    async setStatus(id, status) {
      const order = orders.find((one) => one.id === id)
      if (order) Object.assign(order, { status, updatedAt: Date.now() })
      return order && { ...order }
    },
    inbox: async (user) => [...(letters.get(user) ?? [])],
    async send(from, to, text) {
      const letter = { id: ++ids, from, text }
      letters.set(to, [letter, ...(letters.get(to) ?? [])].slice(0, kept.letters))
      return letter
    },
    close: async () => {},
  }
}
