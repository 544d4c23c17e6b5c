import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { createContext, runInContext } from 'node:vm'
import t from 'tap'
import type { Poll } from '../src/client.js'
import { createWatch, startOrders } from './orders-node.js'

t.test('the file for a script tag polls, and goes live without loading anything else', async (t) => {
  const outfile = `${t.testdir()}/polling.js`
  await promisify(execFile)('node', ['build.mjs', '--source', '--outfile', outfile], {
    cwd: new URL('..', import.meta.url),
  })
  const node = await startOrders(t)
  const page = Object.assign(new EventTarget(), {
    visibilityState: 'visible',
    location: { href: new URL('/', node.url).href },
  })
  const { fetch, Headers, URL: Address, AbortController, TextEncoder, TextDecoder, crypto } = globalThis
  const { setTimeout, clearTimeout, performance, queueMicrotask } = globalThis
  const { look, until } = createWatch()
  const context = createContext({
    ...{ fetch, Headers, URL: Address, AbortController, TextEncoder, TextDecoder, crypto },
    ...{ setTimeout, clearTimeout, performance, queueMicrotask, document: page, look },
  })
  runInContext(readFileSync(outfile, 'utf8'), context)
  const orders = runInContext(
    `const polling = EverwirePolling.createPolling()
    const orders = polling.poll({ url: '/api/orders', intervalMs: 60_000, onData: look })
    orders.on('state', look)
    orders`,
    context,
  ) as Poll<{ n: number }>
  t.teardown(() => runInContext('polling.close()', context))
  await until(() => orders.state === 'live')
  await node.write({ n: 1 })
  await until(() => orders.data?.n === 1)
  t.equal(runInContext('typeof EverwirePolling.createClient', context), 'function')
})
