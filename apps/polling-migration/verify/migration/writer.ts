import { setTimeout as sleep } from 'node:timers/promises'
import { tokenFor } from '../../src/users.js'
import { letterFor } from './judge.js'

/** Writes by the REST API, as the shop's people do. */
export interface Writer {
  /** Requests that it has made. */
  readonly requests: number
  /** One change: an order more, or one that moves on; now and then a letter. */
  write(): Promise<void>
  /** One change every so often, until the time is over. */
  during(ms: number, everyMs: number): Promise<void>
  /** What the API says the orders are. */
  truth(): Promise<{ id: number; status: string }[]>
}

export interface WriterOptions {
  /** Asked for each request: it may be another server each time. */
  url: () => string
  users: readonly string[]
}

const headers = { authorization: `Bearer ${tokenFor('service')}`, 'content-type': 'application/json' }
const retryMs = 50
const patienceMs = 20_000

export function createWriter({ url, users }: WriterOptions): Writer {
  let writes = 0
  let requests = 0
  let order: { id: number; status: string } | undefined

  const ask = async <Answer>(path: string, method: string, body?: unknown): Promise<Answer> => {
    const deadline = performance.now() + patienceMs
    for (;;) {
      requests++
      const init = { method, headers, ...(body !== undefined && { body: JSON.stringify(body) }) }
      const answer = await fetch(url() + path, init).catch(() => undefined)
      if (answer?.ok) return (await answer.json()) as Answer
      if (performance.now() > deadline) throw new Error(`${method} ${path}: ${answer?.status ?? 'no answer'}`)
      // A server is being replaced. That what was asked may be done twice is no matter here.
      await sleep(retryMs)
    }
  }

  const write = async () => {
    writes++
    if (writes % 3 === 0) {
      const user = users[writes % users.length]!
      await ask('/api/inbox', 'POST', { to: user, text: letterFor(user, writes) })
    }
    if (!order || order.status === 'shipped')
      order = await ask('/api/orders', 'POST', { item: `item ${writes}` })
    else {
      const status = order.status === 'new' ? 'packed' : 'shipped'
      order = await ask(`/api/orders/${order.id}`, 'PATCH', { status })
    }
  }

  return {
    get requests() {
      return requests
    },
    write,
    async during(ms, everyMs) {
      const end = Date.now() + ms
      while (Date.now() < end) {
        const started = Date.now()
        await write()
        await sleep(Math.max(0, everyMs - (Date.now() - started)))
      }
    },
    truth: () => ask('/api/orders', 'GET'),
  }
}
