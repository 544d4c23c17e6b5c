import { readFileSync } from 'node:fs'
import { createElement as h, StrictMode, useEffect, type ReactNode } from 'react'
import t, { type Test } from 'tap'
import { createWatch, startOrders } from './orders-node.js'

// The snippets of the README as they stand, with the real libraries. What stands in for a page has no elements: the
// components show nothing, and effects run all the same.

const node = await startOrders(t)
const { look: pageChanged, until: onPage } = createWatch()
const watched = <Fields extends object>(fields: Fields) =>
  new Proxy(fields, {
    set: (target, name, value) => {
      queueMicrotask(pageChanged)
      return Reflect.set(target, name, value)
    },
  })
const dataset = watched<Record<string, string>>({})
const body = watched({ dataset, textContent: '' })
const page = Object.assign(new EventTarget(), {
  visibilityState: 'visible',
  location: new URL('/', node.url),
  nodeType: 9,
  body,
})
Object.assign(globalThis, { window: globalThis, document: page, HTMLIFrameElement: class {} })
const { createRoot } = await import('react-dom/client')
const { QueryClientProvider } = await import('@tanstack/react-query')

t.teardown(async () => {
  const { polling } = await import('./snippets/polling.js')
  polling.close()
})

/** Renders a hook in StrictMode; gives what it returned, as it comes. */
function run<Result extends { data?: { n: number } | undefined }>(
  t: Test,
  use: () => Result,
  wrap: (children: ReactNode) => ReactNode = (children) => children,
) {
  const container = Object.assign(new EventTarget(), {
    nodeType: 1,
    ownerDocument: page,
    namespaceURI: 'http://www.w3.org/1999/xhtml',
    tagName: 'DIV',
    textContent: '',
  })
  const root = createRoot(container as unknown as Element)
  const { look, until } = createWatch()
  const shown: number[] = []
  function Probe() {
    const { data } = use()
    useEffect(() => {
      if (data && shown.at(-1) !== data.n) shown.push(data.n)
      look()
    }, [data])
    return null
  }
  root.render(h(StrictMode, null, wrap(h(Probe))))
  const unmount = () => root.unmount()
  t.teardown(unmount)
  return { shown, until, unmount }
}

t.test('plain', async (t) => {
  const { orders } = await import('./snippets/plain.js')
  await onPage(() => dataset.orders === 'live')
  const { asked } = node
  await node.write({ n: 1 })
  await onPage(() => body.textContent === '1 orders')
  t.equal(node.asked, asked)
  orders.close()
})

t.test('SWR', async (t) => {
  const { useOrders } = await import('./snippets/swr.js')
  const { shown, until, unmount } = run(t, useOrders)
  await until(() => shown.at(-1) === 1)
  await node.subscribed(2)
  await node.write({ n: 2 })
  await until(() => shown.at(-1) === 2)
  t.strictSame(shown, [1, 2])
  unmount()
})

t.test('TanStack Query', async (t) => {
  const { useOrders, queryClient } = await import('./snippets/query.js')
  const { shown, until, unmount } = run(t, useOrders, (children) =>
    h(QueryClientProvider, { client: queryClient }, children),
  )
  await until(() => shown.at(-1) === 2)
  await node.subscribed(3)
  await node.write({ n: 3 })
  await until(() => shown.at(-1) === 3)
  t.strictSame(shown, [2, 3])
  unmount()
  queryClient.clear()
})

t.test('the README shows what is tested here', (t) => {
  const read = (name: string) => readFileSync(new URL(name, import.meta.url), 'utf8')
  const readme = read('../README.md')
  for (const name of ['polling', 'plain', 'query', 'swr'])
    t.ok(readme.includes(`\`\`\`ts\n${read(`snippets/${name}.ts`)}\`\`\``), name)
  t.end()
})
