import { test } from 'tap'
import { createFakeClock, type FakeClock } from '../../testkit/src/fake-clock.js'
import { backoff, createHeartbeat, defaults, systemClock } from '../src/index.js'

function beating(clock: FakeClock, { onPing = () => {} }: { onPing?: () => void } = {}) {
  const pings: number[] = []
  const deaths: number[] = []
  const heartbeat = createHeartbeat({
    clock,
    heartbeatMs: 1_000,
    missedHeartbeats: 2,
    probeMs: 100,
    ping() {
      pings.push(clock.now())
      onPing()
    },
    dead: () => deaths.push(clock.now()),
  })
  return { heartbeat, pings, deaths }
}

test('a silent link is dead after two missed heartbeats and a probe', async (t) => {
  const clock = createFakeClock()
  const { pings, deaths } = beating(clock)
  await clock.advance(10_000)
  t.strictSame([pings, deaths], [[1_000, 2_000], [2_100]])
  t.equal(clock.pending, 0)
})

test('a link that is heard is left alone, and one that answers lives', async (t) => {
  const clock = createFakeClock()
  const talking = beating(clock)
  for (let i = 0; i < 50; i++) {
    await clock.advance(250)
    talking.heartbeat.heard()
  }
  t.strictSame([talking.pings, talking.deaths], [[], []])
  talking.heartbeat.stop()

  const answering = beating(clock, { onPing: () => answering.heartbeat.heard() })
  await clock.advance(60_000)
  t.equal(answering.deaths.length, 0)
  t.ok(answering.pings.length >= 20)
  answering.heartbeat.stop()
  t.equal(clock.pending, 0)
})

test('an answer to the probe alone is enough', async (t) => {
  const clock = createFakeClock()
  const { heartbeat, pings, deaths } = beating(clock)
  await clock.advance(2_050)
  heartbeat.heard()
  await clock.advance(950)
  t.equal(deaths.length, 0)
  await clock.advance(10_000)
  t.equal(deaths.length, 1, 'and silence after it is found again')
  t.ok(pings.length >= 4)
})

test('a probe ends with its answer: the next ping comes a heartbeat later, however long it could have lasted', async (t) => {
  const clock = createFakeClock()
  const { heartbeat, pings, deaths } = beating(clock, { onPing: () => void clock.after(1, heard) })
  const heard = () => heartbeat.heard()
  heartbeat.probe(4_000)
  await clock.advance(9_500)
  // Two beats at most pass between two pings.
  t.strictSame([pings, deaths], [[0, 1_001, 3_001, 5_001, 7_001, 9_001], []])
  heartbeat.stop()
  t.equal(clock.pending, 0)
})

test('a timer that fires late leads to a probe, never to a verdict', async (t) => {
  const clock = createFakeClock()
  const { heartbeat, pings, deaths } = beating(clock)
  await clock.sleep(3_600_000)
  t.strictSame([pings.length, deaths.length], [1, 0], 'after a night: asks')
  await clock.sleep(3_600_000)
  t.strictSame(
    [pings.length, deaths.length],
    [2, 0],
    'and after another, in the middle of the probe, asks again',
  )
  heartbeat.heard()
  await clock.advance(100)
  await clock.advance(900)
  t.equal(deaths.length, 0, 'the answer counts')
  heartbeat.stop()

  const silent = beating(clock)
  await clock.sleep(3_600_000)
  await clock.advance(100)
  t.equal(silent.deaths.length, 1, 'no answer to a probe that was on time is a verdict')
})

test('a heartbeat that is stopped stays stopped, also by its own ping', async (t) => {
  const clock = createFakeClock()
  const first = beating(clock)
  first.heartbeat.stop()
  first.heartbeat.stop()
  const second = beating(clock, { onPing: () => second.heartbeat.stop() })
  await clock.advance(100_000)
  t.strictSame([first.pings.length, second.pings.length, second.deaths.length, clock.pending], [0, 1, 0, 0])
})

test('backoff is full jitter below a ceiling that doubles', (t) => {
  const highest = (attempt: number) =>
    backoff(attempt, { backoffMs: 500, maxBackoffMs: 20_000, random: () => 1 })
  t.strictSame([0, 1, 2, 5, 6, 100, 1e9].map(highest), [500, 1_000, 2_000, 16_000, 20_000, 20_000, 20_000])
  t.equal(backoff(5, { random: () => 0 }), 0)
  for (let attempt = 0; attempt < 200; attempt++) {
    const ms = backoff(attempt)
    t.ok(ms >= 0 && ms < defaults.maxBackoffMs + 1)
  }
  t.end()
})

test('the clock of the machine fires once, not early, and not after it is cancelled', async (t) => {
  const start = systemClock.now()
  let cancelled = 0
  const cancel = systemClock.after(5, () => cancelled++)
  cancel()
  cancel()
  await new Promise<void>((resolve) => systemClock.after(20, resolve))
  t.ok(systemClock.now() - start >= 18)
  t.equal(cancelled, 0)
})
