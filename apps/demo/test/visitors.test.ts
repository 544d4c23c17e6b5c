import { createFakeClock } from '@everwire/testkit'
import t from 'tap'
import { newVisitorCookie, createVisitors, publicName, visitorOf } from '../src/visitors.js'

const faults = { websocket: 'ok', sse: 'ok', cable: 'ok' } as const

t.test('keeps the faults of a bounded number of visitors', async (t) => {
  const visitors = createVisitors({ clock: createFakeClock(), most: 2, idleMs: 1_000 })
  t.same(visitors.change('one', { sse: 'blocked' }), { ...faults, sse: 'blocked' })
  t.ok(visitors.change('two', { sse: 'blocked' }))
  t.equal(visitors.change('three', { sse: 'blocked' }), undefined, 'no room')
  t.ok(visitors.change('one', { websocket: 'blocked' }), 'who is known may go on')
  t.same(visitors.change('two', { sse: 'ok' }), faults)
  t.ok(visitors.change('three', { sse: 'blocked' }), 'who has repaired everything makes room')
  visitors.close()
})

t.test('forgets a visitor who has been gone for a while', async (t) => {
  const clock = createFakeClock()
  const visitors = createVisitors({ clock, most: 2, idleMs: 1_000 })
  visitors.change('stays', { cable: 'cut' })
  visitors.change('goes', { cable: 'cut' })
  for (let i = 0; i < 4; i++) {
    await clock.advance(500)
    t.equal(visitors.faults('stays').cable, 'cut')
  }
  t.same(visitors.faults('goes'), faults)
  visitors.close()
})

t.test('knows its own cookie among others, and no other', async (t) => {
  const [cookie] = newVisitorCookie().split(';')
  const id = cookie!.split('=')[1]!
  t.equal(visitorOf(`theme=dark; ${cookie}; x=y`), id)
  t.equal(visitorOf('everwire-demo-visitor=short'), undefined)
  t.equal(visitorOf(undefined), undefined)
  t.notMatch(publicName(id), id)
})
