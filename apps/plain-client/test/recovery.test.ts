import t, { type Test } from 'tap'
import Fastify from 'fastify'
import type { Position } from '@everwire/core'
import { everwire } from '@everwire/server'
import { longPolling } from '@everwire/transport-long-polling/server'
import { sse } from '@everwire/transport-sse/server'
import { webSocket } from '@everwire/transport-websocket/server'
import { createPlainClient } from '../plain-client.mjs'

/** A server whose hook for publications can be held, clients of it, and readers that say what they have. */
async function createWorld(t: Test, transport: string) {
  let asked = 0
  let answer: Promise<boolean> | boolean = true
  const publish = () => {
    asked++
    return answer
  }
  const app = Fastify()
  await app.register(everwire, {
    transports: [webSocket(), sse(), longPolling()],
    authenticate: () => ({ userId: 'ann' }),
  })
  app.everwire.channel('history:*', { history: { size: 100 }, subscribe: true, publish })
  app.everwire.channel('live:*', { subscribe: true, publish })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as { port: number }
  const closing = new Set<() => void>()
  t.teardown(async () => {
    for (const close of closing) close()
    await app.close()
  })
  return {
    app,
    asked: () => asked,
    hold(until: Promise<boolean> | boolean) {
      answer = until
    },
    client() {
      const client = createPlainClient({
        url: `http://127.0.0.1:${port}/everwire`,
        transports: [transport],
        answer: undefined,
        getToken: undefined,
        timers: undefined,
        backoffMs: 1,
        maxBackoffMs: 5,
      })
      closing.add(client.close)
      return client
    },
  }
}

/** Collects publications; `has(n)` resolves when there are that many. */
function createReader() {
  const data: unknown[] = []
  const gaps: string[] = []
  let check = () => {}
  return {
    data,
    gaps,
    hear(news: { data?: unknown; gap?: string }) {
      if (news.gap) gaps.push(news.gap)
      else data.push(news.data)
      check()
    },
    has: (count: number) =>
      new Promise<void>((resolve) => {
        check = () => void (data.length + gaps.length >= count && resolve())
        check()
      }),
  }
}

for (const transport of ['websocket', 'sse', 'long-polling']) {
  t.test(`${transport}: reads on after a position`, async (t) => {
    const { app, client } = await createWorld(t, transport)
    const positions: (Position | undefined)[] = []
    for (const n of [1, 2, 3]) positions.push(await app.everwire.publish('history:x', 'n', n))
    const reader = createReader()
    const start = await client().subscribe('history:x', reader.hear, positions[0])
    t.strictSame(start, positions[0])
    await app.everwire.publish('history:x', 'n', 4)
    await reader.has(3)
    t.strictSame([reader.data, reader.gaps], [[2, 3, 4], []])
  })

  t.test(`${transport}: many large publications at once arrive in order`, async (t) => {
    const world = await createWorld(t, transport)
    const reader = createReader()
    await world.client().subscribe('history:x', reader.hear)
    const client = world.client()
    const sizes = Array.from({ length: 40 }, (_, n) => 60_000 + n)
    await Promise.all(sizes.map((size) => client.publish('history:x', 'n', new Uint8Array(size))))
    await reader.has(sizes.length)
    t.strictSame(
      reader.data.map((data) => (data as Uint8Array).length),
      sizes,
    )
    t.equal(client.status().sessions, 1)
  })

  t.test(
    `${transport}: a publication that was under way when the session was lost is stored once`,
    async (t) => {
      const world = await createWorld(t, transport)
      const reader = createReader()
      await world.client().subscribe('history:x', reader.hear)
      const client = world.client()
      let release = (_allowed: boolean) => {}
      const held = new Promise<boolean>((resolve) => {
        release = resolve
      })
      world.hold(held)
      const live = createReader()
      await client.subscribe('live:x', live.hear)
      const stored = client.publish('history:x', 'n', 1)
      const doubtful = client.publish('live:x', 'n', 'doubtful')
      doubtful.catch(() => {})
      await until(() => world.asked() === 2)
      const mine = world.app.everwire.sessions().at(-1)!
      world.hold(true)
      mine.end('slow-consumer', 'as if it were')
      await t.rejects(doubtful, { code: 'outcome-unknown' })
      const position = await stored
      release(true)
      await live.has(1)
      t.strictSame(live.gaps, ['session'])
      t.equal(client.status().sessions, 2)
      t.strictSame(
        await client
          .publish('history:x', 'n', 2)
          .then(() => reader.has(2))
          .then(() => reader.data),
        [1, 2],
      )
      t.ok(position)
    },
  )
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve))
}
