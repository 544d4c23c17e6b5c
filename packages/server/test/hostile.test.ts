import t from 'tap'
import { startNode } from './memory-transport.js'

t.test('a close code of any length ends the session, and leaves nothing behind', async (t) => {
  const { app, connect } = await startNode(t)
  const peer = await connect()
  t.equal(app.everwire.sessions().length, 1)
  peer.send(['close', 'x'.repeat(5_000)])
  await peer.again()
  t.equal(app.everwire.sessions().length, 0)
})

t.test('a channel that is taken back while it is being joined is refused', async (t) => {
  let letGo = () => {}
  const asked = new Promise<void>((resolve) => (letGo = resolve))
  let role = 'member'
  let hooks = 0
  const { app, connect } = await startNode(t, { authenticate: () => ({ userId: 'ann', claims: { role } }) })
  app.everwire.channel('room:*', {
    history: {},
    subscribe: async ({ claims }) => {
      if (++hooks === 1) await asked
      return (claims as { role: string }).role === 'member'
    },
  })
  const peer = await connect()
  const number = peer.send(['sub', 'room:x'])
  // The next attach comes with other claims while the hook is still asked about the first.
  role = 'guest'
  const next = await peer.again()
  letGo()
  await app.everwire.publish('room:x', 'n', 1)
  await next.ask(['req', 'none'])
  t.same(
    next.frames.map(({ header }) => header.slice(0, 3)),
    [['err', number, 'forbidden']],
  )
})
