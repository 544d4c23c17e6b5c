import { createMemoryStore } from './store-memory.js'
import { createPostgresStore } from './store-postgres.js'
import { createRemoteStore } from './store-remote.js'

export interface Order {
  id: number
  item: string
  customer: { name: string; street: string; city: string }
  lines: { sku: string; quantity: number; price: number }[]
  status: 'new' | 'packed' | 'shipped'
  /** Milliseconds since 1970. */
  updatedAt: number
  /** What we paid for it: nobody's business, so the API leaves it out. */
  cost: number
}

export interface Letter {
  id: number
  from: string
  text: string
}

/** Where the shop keeps what it knows. */
export interface Store {
  /** The newest fifty, newest first. */
  orders(): Promise<Order[]>
  addOrder(item: string): Promise<Order>
  /** Undefined when there is no such order. */
  setStatus(id: number, status: Order['status']): Promise<Order | undefined>
  /** The newest twenty letters to one user, newest first. */
  inbox(user: string): Promise<Letter[]>
  send(from: string, to: string, text: string): Promise<Letter>
  close(): Promise<void>
}

/** The API of the old server that LEGACY_URL names, else the PostgreSQL of DATABASE_URL, else in memory. */
export async function createStore({ LEGACY_URL, DATABASE_URL } = process.env): Promise<Store> {
  if (LEGACY_URL) return createRemoteStore(LEGACY_URL)
  return DATABASE_URL ? await createPostgresStore(DATABASE_URL) : createMemoryStore()
}
