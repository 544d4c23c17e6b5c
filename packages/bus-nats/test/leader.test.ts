import { systemClock } from '@everwire/core'
import t from 'tap'
import { follow, openOnEach, pause, plain, range, silentLoss, startServers, until } from './experiment.js'

t.test('X10: the leader is killed: nothing acknowledged is lost, each publisher in order', async (t) => {
  const nats = await startServers(t, { servers: 3 })
  const { buses, stream } = await openOnEach(t, nats)
  const followed = await Promise.all(buses.map((bus) => follow(bus, 'a:1')))
  const acknowledged: { offset: number; event: string }[] = []
  const doubtful: string[] = []
  const flow = { on: true }
  let longest = 0
  // One publication under way each, as a session has; several publishers at each node.
  const publishing = range(0, 8).map(async (publisher) => {
    let last = 0
    for (let n = 1; flow.on; n++) {
      const event = `${publisher} ${n}`
      const began = systemClock.now()
      const result = await buses[publisher % 3]!.store('a:1', plain, { event }, { id: event }).catch(
        () => undefined,
      )
      longest = Math.max(longest, systemClock.now() - began)
      if (!result) {
        doubtful.push(event)
        continue
      }
      if (result.offset <= last) t.fail(`${event}: ${result.offset} after ${last}`)
      last = result.offset
      acknowledged.push({ offset: result.offset, event })
      await pause(2)
    }
  })
  for (const round of range(1, 2)) {
    const goal = acknowledged.length + 300
    await until(
      () => acknowledged.length >= goal,
      () => `round ${round}: ${acknowledged.length}`,
    )
    const leader = await nats.leader(stream)
    await leader.kill()
    const more = acknowledged.length + 200
    await until(
      () => acknowledged.length >= more,
      () => `without ${leader.name}: ${acknowledged.length}`,
    )
    await leader.start()
    await nats.ready()
  }
  flow.on = false
  await Promise.all(publishing)

  const truth = (await buses[0]!.read('a:1', plain, { after: 0, limit: 10_000 })).publications
  const events = new Map(truth.map(({ offset, event }) => [event, offset]))
  t.equal(events.size, truth.length, 'nothing is stored twice')
  t.strictSame(
    acknowledged.filter(({ offset, event }) => events.get(event) !== offset),
    [],
    'nothing acknowledged is lost',
  )
  const offsets = truth.map(({ offset }) => offset)
  for (const one of followed) {
    await until(
      () => one.offsets().at(-1) === offsets.at(-1),
      () => `${one.offsets().at(-1)}`,
    )
    t.equal(silentLoss(one, offsets), undefined)
    t.strictSame(one.gaps(), [], 'a new leader is no rollback')
  }
  t.comment(
    `${acknowledged.length} acknowledged, ${doubtful.length} not, the longest wait was ${Math.round(longest)} ms`,
  )
})
