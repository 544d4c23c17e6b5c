import { test } from 'tap'
import { createFakeClock } from '../src/fake-clock.js'

test('fires each timer at its time, in order, and lets promises run between', async (t) => {
  const clock = createFakeClock()
  const log: string[] = []
  const wait = (ms: number) => new Promise<void>((resolve) => clock.after(ms, resolve))
  clock.after(30, () => log.push(`third ${clock.now()}`))
  clock.after(10, () => log.push(`first ${clock.now()}`))
  clock.after(30, () => log.push(`fourth ${clock.now()}`))
  void (async () => {
    await wait(20)
    log.push(`second ${clock.now()}`)
    await wait(15)
    log.push(`fifth ${clock.now()}`)
  })()
  t.equal(clock.next, 10)
  await clock.advance(34)
  t.equal(clock.now(), 34)
  t.equal(clock.pending, 1)
  await clock.advance(1)
  t.strictSame(log, ['first 10', 'second 20', 'third 30', 'fourth 30', 'fifth 35'])
  t.strictSame([clock.pending, clock.next], [0, undefined])
})

test('sleeping makes timers late', async (t) => {
  const clock = createFakeClock({ startMs: 1_000 })
  const fired: number[] = []
  clock.after(10, () => {
    fired.push(clock.now())
    clock.after(10, () => fired.push(clock.now()))
  })
  await clock.sleep(500)
  t.strictSame(fired, [1_500])
  await clock.advance(10)
  t.strictSame(fired, [1_500, 1_510])
})

test('a cancelled timer does not fire, and cancelling twice is fine', async (t) => {
  const clock = createFakeClock()
  let fired = 0
  const cancel = clock.after(10, () => fired++)
  const other = clock.after(10, () => cancel())
  clock.after(5, () => other())
  cancel()
  cancel()
  await clock.advance(100)
  t.strictSame([fired, clock.pending], [0, 0])
})
