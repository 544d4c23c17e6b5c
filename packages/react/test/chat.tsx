import { EverwireProvider, useChannel, useConnection, useLatest } from '@everwire/react'
import { longPolling } from '@everwire/transport-long-polling/client'
import { sse } from '@everwire/transport-sse/client'
import { webSocket } from '@everwire/transport-websocket/client'

const options = { url: '/everwire', transports: [webSocket(), sse(), longPolling()] }

interface Message {
  name: string
  text: string
}

export function App() {
  return (
    <EverwireProvider options={options}>
      <Status />
      <Chat room="chat:lobby" />
    </EverwireProvider>
  )
}

function Status() {
  const { state, transport, error } = useConnection()
  return (
    <p>
      {state} {transport} {error?.code}
    </p>
  )
}

function Chat({ room }: { room: string }) {
  const { publications, publish, status, error, gaps } = useChannel<Message>(room, { events: ['message'] })
  const typing = useLatest<string>(room, 'typing')
  if (status === 'failed') return <p role="alert">The room is closed: {error?.code}</p>
  const send = (form: FormData) => {
    publish('message', { name: 'Ann', text: form.get('text') }).catch((reason: Error) =>
      alert(reason.message),
    )
  }
  return (
    <section>
      <ul>
        {publications.map(({ key, data }) => (
          <li key={key}>
            {data.name}: {data.text}
          </li>
        ))}
      </ul>
      {typing.data !== undefined && <p>{typing.data} is typing</p>}
      {gaps > 0 && <p>Some messages are missing: reload to read them.</p>}
      <form action={send}>
        <input
          name="text"
          aria-label="Message"
          onChange={() => void publish('typing', 'Ann').catch(() => {})}
        />
      </form>
    </section>
  )
}
