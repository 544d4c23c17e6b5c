import { readFileSync } from 'node:fs'
import { EverwireProvider, useChannel, useClient, useConnection, useLatest } from '@everwire/react'
import { createClient } from '@everwire/client'
import { createElement as h, type ReactElement } from 'react'
import { renderToString } from 'react-dom/server'
import t from 'tap'
import { App } from './chat.js'

// What a server renders. What effects do is seen in a browser: apps/demo/test/react.test.ts.

const touched = () => {
  throw new Error('the network was touched')
}
const dead = { name: 'dead', supported: touched, probe: touched, attach: touched }
const initial = [{ data: 'from the server', meta: { channel: 'chat:a', event: 'message' } }]

function Probe({ name }: { name: string | null }): ReactElement {
  const { publications, status } = useChannel<string>(name, { initial })
  const { data } = useLatest<number>(name, 'price', { initial: [{ data: 7, meta: initial[0]!.meta }] })
  return h('p', null, [useConnection().state, status, publications.map((one) => one.data), data].join('|'))
}

t.test('a server renders what was given, and opens nothing', async (t) => {
  t.intercept(globalThis, 'fetch', { value: touched })
  t.equal('window' in globalThis, false)
  t.match(renderToString(h(App)), /<p>idle.*<ul><\/ul>/)

  const client = createClient({ url: 'http://localhost/everwire', transports: [dead], fetch: touched })
  const providers = [{ client }, { options: { url: '/everwire', transports: [dead] } }]
  for (const props of providers)
    for (const name of ['chat:a', null]) {
      const html = renderToString(h(EverwireProvider, props, h(Probe, { name })))
      t.equal(html, '<p>idle|idle|from the server|7</p>')
    }
  // What a render had begun would show in the turns after it.
  await new Promise(setImmediate)
  t.equal(client.state, 'idle')
})

t.test('misuse is told at once, with what to do', (t) => {
  const Lost = () => h('p', null, useClient()?.state)
  t.throws(() => renderToString(h(Lost)), /wrap the component in <EverwireProvider>/)
  const client = createClient({ url: 'http://localhost/everwire', transports: [dead], fetch: touched })
  t.throws(() => renderToString(h(EverwireProvider, { client }, h(Probe, { name: 'nowhere' }))), {
    code: 'invalid-channel',
  })
  t.end()
})

t.test('publishing before there is a client is refused', async (t) => {
  let publish: ReturnType<typeof useChannel>['publish'] | undefined
  const Publisher = () => {
    publish = useChannel('chat:a').publish
    return null
  }
  renderToString(h(EverwireProvider, { options: { url: '/everwire', transports: [dead] } }, h(Publisher)))
  await t.rejects(publish!('message', 1), { code: 'closed' })
})

t.test('the example of the README is the one that is rendered here', (t) => {
  const read = (name: string) => readFileSync(new URL(name, import.meta.url), 'utf8')
  const [, quoted] = /```tsx\n([\s\S]*?)```/.exec(read('../README.md'))!
  t.equal(quoted, read('chat.tsx'))
  t.end()
})
