import { createPolling } from '@everwire/polling-bridge/client'
import { createClient, longPolling, sse, webSocket } from 'everwire/client'
import { WebSocket } from 'ws'
import { tokenFor } from '../../src/users.js'
import { createBrowserFetch } from './browser-fetch.js'
import type { CrowdOrder } from './crowd.js'
import type { Shown } from './judge.js'

// Many clients in one process. What each of them shows is told to the parent.

const paths = { orders: '/api/orders', inbox: '/api/inbox' } as const

process.on('message', ({ kind, url, clients, users, intervalMs, from = 0 }: CrowdOrder) => {
  for (let i = 0; i < clients; i++) {
    const user = users[i % users.length]!
    const show = (what: Shown['what']) => (data: unknown) =>
      process.send!({ client: from + i, user, what, at: Date.now(), data } as Shown)
    // Pages are not opened in the same moment.
    const tell = (state: string) => process.send!({ client: from + i, state })
    setTimeout(() => startClient({ kind, url, user, intervalMs, show, tell }), (intervalMs * i) / clients)
  }
})
process.on('disconnect', () => process.exit())

interface ClientOrder extends Pick<CrowdOrder, 'kind' | 'url' | 'intervalMs'> {
  user: string
  show(what: Shown['what']): (data: unknown) => void
  tell(state: string): void
}

function startClient({ kind, url, user, intervalMs, show, tell }: ClientOrder): void {
  const headers = { authorization: `Bearer ${tokenFor(user)}` }
  if (kind === 'fetch') {
    const ask = createBrowserFetch(headers)
    for (const [what, path] of Object.entries(paths)) {
      const load = async () => {
        const answer = await ask(url + path)
        if (answer.ok) show(what as Shown['what'])(await answer.json())
      }
      // A request that fails is forgotten, as on many a page: the next one comes soon.
      const refresh = () => void load().catch(() => {})
      refresh()
      setInterval(refresh, intervalMs)
    }
    return
  }
  const transports = [webSocket({ WebSocket }), sse(), longPolling()]
  const client = () => createClient({ url: `${url}/everwire`, transports, getToken: () => tokenFor(user) })
  const { poll } = createPolling({ client, headers })
  for (const [what, path] of Object.entries(paths)) {
    const one = poll({ url: url + path, intervalMs, onData: show(what as Shown['what']), onError: () => {} })
    if (what === 'orders') one.on('state', tell)
  }
}
