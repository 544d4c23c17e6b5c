import t from 'tap'
import { startNode } from './memory-transport.js'

// A client that gave an attempt up may never have heard that it has a session.

const times = { unattachedMs: 10_000, resumeWindowMs: 60_000 }

t.test('a session whose first welcome nothing answered ends early', async (t) => {
  const { app, clock, connect } = await startNode(t, times)
  const peer = await connect()
  peer.cut()
  await clock.advance(9_999)
  t.equal(app.everwire.sessions().length, 1)
  await clock.advance(1)
  t.equal(app.everwire.sessions().length, 0)
})

t.test('any sign of life keeps it for the whole window', async (t) => {
  const { app, clock, connect } = await startNode(t, times)
  for (const sign of [
    ['seen', 0],
    ['pong', 0],
    ['ping', 0],
    ['req', 'none'],
  ] as const) {
    const peer = await connect()
    peer.send([...sign])
    await clock.settle()
    peer.cut()
    await clock.advance(59_999)
    t.equal(app.everwire.sessions().length, 1, sign[0])
    await clock.advance(1)
    t.equal(app.everwire.sessions().length, 0)
  }
})

t.test('a later attach knows the session, and so does an uplink between two links', async (t) => {
  const { app, clock, connect } = await startNode(t, times)
  const first = await connect()
  first.cut()
  await clock.advance(5_000)
  const second = await first.again()
  t.equal(second.others[0]?.header[0], 'welcome')
  second.cut()
  await clock.advance(59_999)
  t.equal(app.everwire.sessions().length, 1)
  await clock.advance(1)

  const { session, cut } = await connect()
  cut()
  await clock.advance(5_000)
  const payload = `data: ${JSON.stringify(['uplink', { session, first: 1 }])}\n\n`
  const headers = { 'content-type': 'text/event-stream' }
  const answer = await app.inject({ method: 'POST', url: '/everwire/uplink', payload, headers })
  t.equal(answer.statusCode, 200)
  await clock.advance(59_999)
  t.equal(app.everwire.sessions().length, 1)
  await clock.advance(1)
  t.equal(app.everwire.sessions().length, 0)
})

t.test('a session that was asked for before is known, and has the whole window', async (t) => {
  const { app, clock, connect } = await startNode(t, times)
  const opened = await app.inject({ method: 'POST', url: '/everwire/session', payload: { v: 1 } })
  const peer = await connect({ session: opened.json().session })
  t.equal(peer.others[0]?.header[0], 'welcome')
  peer.cut()
  await clock.advance(59_999)
  t.equal(app.everwire.sessions().length, 1)
})
