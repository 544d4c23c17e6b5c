import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createClient } from '@everwire/client'
import { everwire } from '@everwire/server'
import { sse as sseClient } from '@everwire/transport-sse/client'
import { sse } from '@everwire/transport-sse/server'
import { useChannel, useConnection, useLatest } from '@everwire/vue'
import Fastify from 'fastify'
import t from 'tap'
import { createSSRApp, effectScope, isReadonly, nextTick, watch, type Component, type Ref } from 'vue'
import { compileScript, parse } from 'vue/compiler-sfc'
import { renderToString } from 'vue/server-renderer'

/** Resolves with a ref's value once it fits. */
const once = <Value>(from: Readonly<Ref<Value>>, fits: (value: Value) => boolean) =>
  new Promise<Value>((resolve) => {
    const stop = watch(
      from,
      async (value) => {
        if (!fits(value)) return
        await nextTick()
        stop()
        resolve(value)
      },
      { immediate: true, flush: 'sync' },
    )
  })

t.test('composables follow a channel until their scope ends', async (t) => {
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

  const scope = effectScope()
  const [connection, chat, price] = scope.run(
    () =>
      [
        useConnection(client),
        useChannel<string>(client, 'chat:a', { events: ['message'], lingerMs: 0 }),
        useLatest<number>(client, 'chat:a', 'price', { lingerMs: 0 }),
      ] as const,
  )!
  await once(chat, ({ status }) => status === 'subscribed')
  t.match(connection.value, { state: 'connected', transport: 'sse', userId: 'ann' })
  t.equal(isReadonly(chat), true)
  for (const value of [1, 2]) await app.everwire.publish('chat:a', 'price', value)
  await app.everwire.publish('chat:a', 'message', 'hello')
  const { publications } = await once(chat, (value) => value.publications.length > 0)
  t.equal(isReadonly(publications), false, 'what it holds is as it came, not wrapped')
  t.same(
    publications.map(({ data }) => data),
    ['hello'],
  )
  t.equal(price.value.data, 2)
  t.equal(subscribes, 1)

  const left = new Promise<void>((resolve) => {
    const channel = client.channel('chat:a')
    const { unsubscribe } = channel
    t.intercept(channel, 'unsubscribe', { value: () => unsubscribe.call(channel).finally(resolve) })
  })
  scope.stop()
  await left
  t.equal(client.channel('chat:a').subscribed, false)
  await app.everwire.publish('chat:a', 'price', 3)
  t.equal(price.value.data, 2)
})

t.test('the example of the README renders on a server, and opens nothing there', async (t) => {
  const source = readFileSync(new URL('chat.vue', import.meta.url), 'utf8')
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')
  t.equal(/```vue\n([\s\S]*?)```/.exec(readme)![1], source)

  const { descriptor, errors } = parse(source, { filename: 'chat.vue' })
  t.same(errors, [])
  const { content } = compileScript(descriptor, {
    id: 'chat',
    inlineTemplate: true,
    templateOptions: { ssr: true },
  })
  // Inside the package, so that its imports resolve as they do for a reader who installed them.
  const folder = mkdtempSync(join(import.meta.dirname, 'example-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  writeFileSync(join(folder, 'chat.ts'), content)
  const { default: chat } = (await import(join(folder, 'chat.ts'))) as { default: Component }
  let fetched = 0
  t.intercept(globalThis, 'fetch', { value: () => Promise.reject(new TypeError(`${++fetched} fetched`)) })
  t.match(await renderToString(createSSRApp(chat)), /<p>idle <\/p>.*<ul>.*<\/ul>.*<form>/)
  await new Promise(setImmediate)
  t.equal(fetched, 0)
})
