import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createClient } from '@everwire/client'
import { everwire } from '@everwire/server'
import { channelStore, connectionStore, latestStore, type Readable } from '@everwire/svelte'
import { sse as sseClient } from '@everwire/transport-sse/client'
import { sse } from '@everwire/transport-sse/server'
import Fastify from 'fastify'
import type { Component } from 'svelte'
import { compile } from 'svelte/compiler'
import { render } from 'svelte/server'
import { derived, get } from 'svelte/store'
import t from 'tap'

/** Resolves with a store's value once it fits. */
const once = <Value>(store: Readable<Value>, fits: (value: Value) => boolean) =>
  new Promise<Value>((resolve) => {
    const off = store.subscribe((value) => {
      if (!fits(value)) return
      resolve(value)
      queueMicrotask(() => off())
    })
  })

t.test(
  'stores keep the contract of Svelte, and read their channel as long as somebody subscribes',
  async (t) => {
    const app = Fastify({ forceCloseConnections: true })
    await app.register(everwire, { transports: [sse()], authenticate: () => ({ userId: 'ann' }) })
    let subscribes = 0
    app.everwire.channel('chat:*', { subscribe: () => ++subscribes > 0 })
    const url = `${await app.listen({ port: 0, host: '127.0.0.1' })}/everwire`
    const client = createClient({ url, transports: [sseClient()] })
    t.teardown(async () => {
      client.close()
      await app.close()
    })

    const chat = channelStore<string>(client, 'chat:a', { events: ['message'], lingerMs: 0 })
    const price = latestStore<number>(client, 'chat:a', 'price', { lingerMs: 0 })
    t.equal(get(chat).status, 'idle')
    await new Promise(setImmediate)
    t.equal(client.state, 'idle', 'a look in passing opens nothing')

    const texts = derived([chat, price], ([{ publications, status }, { data }]) => ({
      status,
      texts: publications.map((one) => one.data),
      price: data,
    }))
    const values: unknown[] = []
    const off = texts.subscribe((value) => values.push(value))
    await once(texts, ({ status }) => status === 'subscribed')
    t.match(get(connectionStore(client)), { state: 'connected', transport: 'sse', userId: 'ann' })
    await app.everwire.publish('chat:a', 'price', 7)
    await app.everwire.publish('chat:a', 'message', 'hello')
    await once(texts, ({ texts }) => texts.length > 0)
    t.same(values.at(-1), { status: 'subscribed', texts: ['hello'], price: 7 })
    t.equal(subscribes, 1)

    const left = new Promise<void>((resolve) => {
      const channel = client.channel('chat:a')
      const { unsubscribe } = channel
      t.intercept(channel, 'unsubscribe', { value: () => unsubscribe.call(channel).finally(resolve) })
    })
    off()
    await left
    t.equal(client.channel('chat:a').subscribed, false)
  },
)

t.test('the example of the README renders on a server, and opens nothing there', async (t) => {
  const source = readFileSync(new URL('chat.svelte', import.meta.url), 'utf8')
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')
  t.equal(/```svelte\n([\s\S]*?)```/.exec(readme)![1], source)

  const { js, warnings } = compile(source, { generate: 'server', filename: 'chat.svelte' })
  t.same(warnings, [])
  // Inside the package, so that its imports resolve as they do for a reader who installed them.
  const folder = mkdtempSync(join(import.meta.dirname, 'example-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  writeFileSync(join(folder, 'chat.js'), js.code)
  const { default: chat } = (await import(join(folder, 'chat.js'))) as { default: Component }
  let fetched = 0
  t.intercept(globalThis, 'fetch', { value: () => Promise.reject(new TypeError(`${++fetched} fetched`)) })
  t.match(render(chat).body, /<p>idle <\/p>.*<ul>.*<\/ul>.*<form>/)
  await new Promise(setImmediate)
  t.equal(fetched, 0)
})
