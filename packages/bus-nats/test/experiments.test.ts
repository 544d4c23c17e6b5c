import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { systemClock } from '@everwire/core'
import { jetstream } from '@nats-io/jetstream'
import { connect, headers } from '@nats-io/transport-node'
import t, { type Test } from 'tap'
import { createPublisher } from '../src/index.js'
import { createSubjects } from '../src/subjects.js'
import {
  createWire,
  follow,
  listen,
  openBus,
  outcome,
  plain,
  range,
  silentLoss,
  startServers,
  until,
  withoutRepublications,
} from './experiment.js'

const bare = async (t: Test, url: string) => {
  const connection = await connect({ servers: url })
  t.teardown(() => connection.close())
  return connection
}

const { out, storedIn } = createSubjects('ew')
const plainClass = `s${plain.size}-t${plain.ttlMs}`

t.test('X1: an id is recognised in its stream, so two channels must not share one', async (t) => {
  const { url } = await startServers(t)
  const bus = await openBus(t, { servers: url })

  const stream = jetstream(await bare(t, url))
  const raw = (channel: string) => stream.publish(storedIn(plainClass, 0, channel), '1', { msgID: 'same' })
  t.strictSame([(await raw('a:raw')).duplicate, (await raw('b:raw')).duplicate], [false, true])
  t.equal((await bus.read('b:raw', plain, { after: 0, limit: 9 })).publications.length, 0, 'swallowed')

  const publisher = await createPublisher({ servers: url })
  t.teardown(() => publisher.close())
  const offsets: unknown[] = []
  for (const channel of ['a:1', 'b:1', 'a:1', 'b:1'])
    offsets.push((await publisher.publish(channel, 'e', 1, { id: 'same' }))?.offset)
  t.equal(new Set(offsets).size, 2)
  for (const channel of ['a:1', 'b:1'])
    t.equal((await bus.read(channel, plain, { after: 0, limit: 9 })).publications.length, 1, channel)
})

t.test('X2: a stream that went back is another epoch, and readers are told', async (t) => {
  const storeDir = await mkdtemp(path.join(tmpdir(), 'everwire-x2-'))
  t.teardown(() => rm(storeDir, { recursive: true, force: true }))
  const [store, older] = [path.join(storeDir, 'now'), path.join(storeDir, 'older')]

  /** Ten publications, of which the backup knows five; what `meanwhile` does happens before the node is back. */
  const rollBack = async (t: Test, meanwhile: (url: string) => Promise<void>) => {
    for (const folder of [store, older]) await rm(folder, { recursive: true, force: true })
    const { url, servers } = await startServers(t, { storeDir: store })
    const bus = await openBus(t, { servers: url })
    const followed = await follow(bus, 'a:1')
    const positions = [await bus.store('a:1', plain, { event: 'e1' })]
    for (const n of range(2, 5)) await bus.store('a:1', plain, { event: `e${n}` })
    await servers[0]!.stop()
    await cp(store, older, { recursive: true })
    await servers[0]!.start()
    for (const n of range(6, 10)) positions.push(await bus.store('a:1', plain, { event: `e${n}` }))
    await until(
      () => followed.events().length === 10,
      () => followed.events().join(),
    )
    t.strictSame(followed.gaps(), [], 'a restart is no rollback')
    t.equal(new Set(positions.map(({ epoch }) => epoch)).size, 1)

    await servers[0]!.kill()
    await rm(store, { recursive: true, force: true })
    await cp(older, store, { recursive: true })
    const restored = await startServers(t, { storeDir: store })
    await meanwhile(restored.url)
    await restored.servers[0]!.stop()
    await servers[0]!.start()

    await until(
      () => followed.gaps().length > 0,
      () => JSON.stringify(followed.heard.slice(-3)),
    )
    const next = await bus.store('a:1', plain, { event: 'after' })
    t.not(next.epoch, positions[0]!.epoch)
    await until(
      () => followed.events().at(-1) === 'after',
      () => followed.events().join(),
    )
    t.strictSame([followed.gaps(), followed.events().slice(10)], [['epoch'], ['after']])
    const gap = followed.heard.find(({ kind }) => kind === 'gap')
    t.ok(gap?.kind === 'gap' && gap.position.epoch === next.epoch && gap.position.offset < next.offset)
    t.equal((await bus.read('a:1', plain, { after: 0, limit: 1 })).epoch, next.epoch)

    const later = await openBus(t, { servers: url })
    t.equal((await later.read('a:1', plain, { after: 0, limit: 1 })).epoch, next.epoch, 'for all')
  }

  await t.test('when it is shorter than it was', (t) => rollBack(t, async () => {}))

  await t.test('when it has grown beyond where it was', (t) =>
    rollBack(t, async (url) => {
      const stream = jetstream(await bare(t, url))
      for (const n of range(1, 20)) await stream.publish(storedIn(plainClass, 0, 'a:1'), `${n}`)
    }),
  )

  await t.test('when it lived in memory', async (t) => {
    const { url, servers } = await startServers(t)
    const bus = await openBus(t, { servers: url, storage: 'memory' })
    const followed = await follow(bus, 'a:1')
    const { epoch } = await bus.store('a:1', plain, { event: 'before' })
    await servers[0]!.kill()
    await servers[0]!.start()
    const next = await bus.store('a:1', plain, { event: 'after' })
    t.not(next.epoch, epoch)
    await until(
      () => followed.gaps().length > 0,
      () => JSON.stringify(followed.heard),
    )
    await bus.store('a:1', plain, { event: 'last' })
    await until(
      () => followed.events().at(-1) === 'last',
      () => followed.events().join(),
    )
    t.strictSame(followed.gaps(), ['epoch'])
  })
})

t.test('X5: without a server nothing is acknowledged that is lost', async (t) => {
  const { url, servers } = await startServers(t)
  const bus = await openBus(t, { servers: url, publishTimeoutMs: 1_000 })
  const patient = await openBus(t, { servers: url, publishTimeoutMs: 15_000 })
  const [followed, listened] = [await follow(bus, 'a:1'), await listen(bus, 'a:1')]
  await bus.store('a:1', plain, { event: 'before' })

  await servers[0]!.kill()
  await until(
    async () => (await outcome(bus.broadcast('a:1', { event: 'probe' }))) === 'temporary',
    () => 'the loss is noticed',
  )
  const refused = await Promise.all(
    range(1, 50).map(async (n) => [
      await outcome(bus.broadcast('a:1', { event: `lost${n}` })),
      await outcome(bus.store('a:1', plain, { event: `refused${n}` })),
    ]),
  )
  t.strictSame(new Set(refused.flat()), new Set(['temporary']))
  const waiting = Promise.all(
    range(1, 20).map((n) => patient.store('a:1', plain, { event: `waits${n}` }, { id: `w${n}` })),
  )
  await servers[0]!.start()
  const offsets = (await waiting).map(({ offset }) => offset)
  t.equal(new Set(offsets).size, 20)
  await until(
    () => followed.offsets().length >= 21,
    () => followed.events().join(),
  )
  await bus.broadcast('a:1', { event: 'after' })
  await until(
    () => listened.events().at(-1) === 'after',
    () => listened.events().join(),
  )
  t.notOk(listened.events().some((event) => event.startsWith('lost')))
  t.notOk(
    followed.events().some((event) => event.startsWith('refused')),
    'refused is not stored later',
  )
  t.strictSame(followed.gaps(), [])
})

t.test('X6, X7: retries', async (t) => {
  await t.test('what the server stored without being heard is stored once, and found by all', async (t) => {
    const { url } = await startServers(t)
    const wire = await createWire(t, url)
    const publisher = await openBus(t, { servers: wire.url })
    const other = await openBus(t, { servers: url, checkPeriodMs: 60_000 })
    const followed = await follow(other, 'a:1')
    await publisher.store('a:1', plain, { event: 'first' }, { id: 'first' })
    for (const n of range(1, 3)) {
      wire.holdAnswers(true)
      const storing = publisher.store('a:1', plain, { event: `e${n}` }, { id: `id${n}` })
      await until(
        async () => (await other.read('a:1', plain, { after: 0, limit: 99 })).publications.length === n + 1,
        () => 'stored',
      )
      wire.cut()
      wire.holdAnswers(false)
      const { offset } = await storing
      t.ok((await other.read('a:1', plain, { after: 0, limit: 99 })).tail >= offset)
    }
    await until(
      () => followed.events().length >= 4,
      () => followed.events().join(),
    )
    t.strictSame(followed.events(), ['first', 'e1', 'e2', 'e3'])
  })

  await t.test('a duplicate is not republished, so its publisher tells the others', async (t) => {
    const { url } = await startServers(t)
    const losing = withoutRepublications(await bare(t, url))
    const [publisher, deaf] = [
      await openBus(t, { servers: url }),
      await openBus(t, { connection: losing, checkPeriodMs: 60_000 }),
    ]
    const followed = await follow(deaf, 'a:1')
    const store = () => publisher.store('a:1', plain, { event: 'e' }, { id: 'x' })
    const { offset } = await store()
    t.strictSame(followed.offsets(), [])
    t.equal((await store()).offset, offset)
    await until(
      () => followed.offsets().length > 0,
      () => 'the hint',
    )
    t.strictSame([followed.offsets(), followed.gaps()], [[offset], []])
  })

  await t.test('a retry that is too old is never sent', async (t) => {
    const { url } = await startServers(t)
    const wire = await createWire(t, url)
    const dedupWindowMs = 2_000
    const bus = await openBus(t, { servers: wire.url, dedupWindowMs })
    const other = await openBus(t, { servers: url, dedupWindowMs })
    const followed = await follow(other, 'a:1')
    await bus.store('a:1', plain, { event: 'before' })
    wire.holdAnswers(true)
    const began = systemClock.now()
    const code = await outcome(bus.store('a:1', plain, { event: 'e' }, { id: 'x' }))
    const took = systemClock.now() - began
    t.equal(code, 'outcome-unknown')
    t.ok(took >= dedupWindowMs / 2 - 50 && took < dedupWindowMs, `after ${Math.round(took)} ms`)
    wire.holdAnswers(false)
    await until(
      () => systemClock.now() - began > 2 * dedupWindowMs,
      () => 'the window over',
    )
    await other.store('a:1', plain, { event: 'after' })
    await until(
      () => followed.events().at(-1) === 'after',
      () => followed.events().join(),
    )
    t.strictSame(followed.events(), ['before', 'e', 'after'], 'it was stored once')
  })
})

t.test('X8, X16: retention beside a reader', async (t) => {
  const small = { size: 8, ttlMs: 600_000 }

  await t.test('a follower that must read what it missed jumps over nothing in silence', async (t) => {
    const { url } = await startServers(t)
    const publisher = await openBus(t, { servers: url })
    const connection = withoutRepublications(await bare(t, url))
    const reader = await openBus(t, { connection, checkPeriodMs: 20 })
    const accepted: number[] = []
    let others = 0
    const followers = await Promise.all(range(1, 4).map(() => follow(reader, 'a:1', small)))
    for (const round of range(1, 60)) {
      const burst = range(1, 1 + (round % 12)).map(() => publisher.store('a:1', small, { event: 'e' }))
      accepted.push(...(await Promise.all(burst)).map(({ offset }) => offset))
      if (round % 5 === 0) others += (await publisher.store(`b:${round}`, small, { event: 'e' })).offset
    }
    accepted.sort((a, b) => a - b)
    const last = await publisher.store('a:1', small, { event: 'last' })
    accepted.push(last.offset)
    for (const followed of followers) {
      await until(
        () => followed.offsets().at(-1) === last.offset,
        () => `${followed.offsets().at(-1)}`,
      )
      t.equal(silentLoss(followed, accepted), undefined)
    }
    t.ok(
      others > 0 && followers.some(({ offsets }) => offsets().length < accepted.length),
      'something was lost',
    )
  })

  await t.test('some republications are lost, and nothing is missed', async (t) => {
    const { url } = await startServers(t)
    const publisher = await openBus(t, { servers: url })
    let number = 0
    const connection = withoutRepublications(await bare(t, url), () => ++number % 3 === 0)
    const reader = await openBus(t, { connection })
    const followed = await follow(reader, 'a:1')
    const accepted: number[] = []
    await Promise.all(
      range(1, 8).map(async () => {
        for (let n = 1; n <= 50; n++)
          accepted.push((await publisher.store('a:1', plain, { event: 'e' })).offset)
      }),
    )
    accepted.sort((a, b) => a - b)
    await until(
      () => followed.offsets().length >= accepted.length,
      () => `${followed.offsets().length}`,
    )
    t.strictSame([followed.offsets(), followed.gaps()], [accepted, []])
  })
})

t.test('X13: the own echo and the acknowledgement come in either order, once', async (t) => {
  const { url } = await startServers(t)
  const bus = await openBus(t, { servers: url })
  const followed = await follow(bus, 'a:1')
  let echoFirst = 0
  const offsets: number[] = []
  for (const n of range(1, 30)) {
    offsets.push((await bus.store('a:1', plain, { event: `e${n}` })).offset)
    if (followed.offsets().length === n) echoFirst++
  }
  await until(
    () => followed.offsets().length >= 30,
    () => `${followed.offsets().length}`,
  )
  t.strictSame([followed.offsets(), followed.gaps()], [offsets, []])
  t.comment(`the echo came first ${echoFirst} of 30 times`)
})

t.test('X17: whoever makes up sequences on the subject of a channel hides nothing', async (t) => {
  const { url } = await startServers(t)
  const bus = await openBus(t, { servers: url })
  const connection = await bare(t, url)
  const forge = (channel: string, sequence: number | string, previous: number) => {
    const forged = headers()
    forged.set('Nats-Stream', `ew_${plainClass}_0`)
    forged.set('Nats-Sequence', `${sequence}`)
    forged.set('Nats-Last-Sequence', `${previous}`)
    connection.publish(out(channel), '"forged"', { headers: forged })
  }
  for (const [name, ahead] of Object.entries({ near: 3, far: 1_000_000_000 }))
    await t.test(`${name} ahead`, async (t) => {
      const channel = `forged:${name}`
      const followed = await follow(bus, channel)
      const accepted = [(await bus.store(channel, plain, { event: 'e' })).offset]
      await until(
        () => followed.offsets().length === 1,
        () => 'the first',
      )
      forge(channel, accepted[0]! + ahead, accepted[0]!)
      forge(channel, accepted[0]! + ahead, 0)
      await connection.flush()
      for (const n of range(1, 5)) accepted.push((await bus.store(channel, plain, { event: `e${n}` })).offset)
      const last = async () => {
        accepted.push((await bus.store(channel, plain, { event: 'last' })).offset)
        return followed.offsets().at(-1) === accepted.at(-1)
      }
      await until(last, () => JSON.stringify(followed.heard.slice(-4)))
      const found = followed.offsets()
      t.strictSame(
        accepted.filter((offset) => !found.includes(offset)),
        [],
        'hides nothing',
      )
      // What could be true is told, until what is true contradicts it: then a gap says so.
      if (name === 'near') t.ok(followed.gaps().includes('expired'))
      else
        t.ok(
          found.every((offset) => accepted.includes(offset)),
          'not believed',
        )
      followed.stop()
    })

  await t.test('what is not a number, or nothing at all', async (t) => {
    const followed = await follow(bus, 'forged:odd')
    for (const odd of ['', 'x', '-1', '1e999', '0', 'NaN', '1.5', '9007199254740993'])
      forge('forged:odd', odd, 0)
    connection.publish(out('forged:odd'), 'plain')
    await connection.flush()
    const { offset } = await bus.store('forged:odd', plain, { event: 'e' })
    await until(
      () => followed.offsets().length > 0,
      () => 'the real one',
    )
    t.strictSame([followed.offsets(), followed.gaps()], [[offset], []])
  })
})
