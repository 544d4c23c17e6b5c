import { EverwireProvider, useChannel, useConnection, useLatest } from '@everwire/react'
import { longPolling } from '@everwire/transport-long-polling/client'
import { sse } from '@everwire/transport-sse/client'
import { webSocket } from '@everwire/transport-websocket/client'
import { createElement as h, StrictMode, useEffect, useState, type ReactElement } from 'react'

// What the browser of react.test.ts shows, and what its server renders before.

/** What is shown: readers by their ids, each with its channel. */
export interface View {
  provider: number
  readers: Record<string, string | null>
  latest: string | null
}

const start: View = { provider: 1, readers: { one: 'chat:a', two: 'chat:a' }, latest: 'chat:a' }

function Reader({ id, channel }: { id: string; channel: string | null }): ReactElement {
  const { publications, status, error, gaps, publish } = useChannel<string>(channel, {
    events: ['message'],
    lingerMs: 300,
  })
  return h(
    'ul',
    { id, 'data-status': error?.code ?? status, 'data-gaps': gaps },
    publications.map(({ key, data }) => h('li', { key }, data)),
    h('button', { onClick: () => void publish('message', `of ${id}`) }),
  )
}

function Latest({ channel }: { channel: string | null }): ReactElement {
  const { data, status } = useLatest<string>(channel, 'message')
  return h('p', { id: 'latest', 'data-status': status }, data)
}

const Connection = () => h('p', { id: 'connection' }, useConnection().state)

/** `control` is handed what changes the view. */
export function App({ control }: { control?: (show: (view: Partial<View>) => void) => void }): ReactElement {
  const [view, setView] = useState(start)
  useEffect(() => control?.((change) => setView((before) => ({ ...before, ...change }))), [control])
  const { provider, readers, latest } = view
  // Written inline, as many do: another object in each render.
  const options = { url: '/everwire', transports: [webSocket(), sse(), longPolling()] }
  if (provider === 0) return h(StrictMode)
  return h(
    StrictMode,
    null,
    h(
      EverwireProvider,
      { options, key: provider },
      h(Connection),
      Object.entries(readers).map(([id, channel]) => h(Reader, { key: id, id, channel })),
      latest && h(Latest, { channel: latest }),
    ),
  )
}
