import { readFileSync } from 'node:fs'
import { test } from 'tap'
import { createLedger, formatVerdict, isClean, type Ledger } from '../src/ledger.js'

const clean = { lost: 0, doubled: 0, misordered: 0, unsignalledGaps: 0, falseGaps: 0, phantoms: 0 }

/** Publisher p publishes these into c, and each is accepted. */
function publish(ledger: Ledger, from: number, to: number, publisher = 'p') {
  for (let n = from; n <= to; n++) {
    ledger.publishing('c', publisher, n)
    ledger.accepted('c', publisher, n)
  }
}
const receive = (ledger: Ledger, ...numbers: number[]) => {
  for (const n of numbers) ledger.received('s', 'c', 'p', n)
}
const reading = (options?: Parameters<typeof createLedger>[0]) => {
  const ledger = createLedger(options)
  ledger.subscribed('s', 'c')
  return ledger
}

test('all that was accepted came once and in order: nothing is wrong', (t) => {
  const ledger = reading()
  publish(ledger, 1, 100)
  receive(ledger, ...Array.from({ length: 100 }, (_, i) => i + 1))
  const verdict = ledger.verdict()
  t.match(verdict, { ...clean, published: 100, accepted: 100, received: 100, told: 0, details: [] })
  t.ok(isClean(verdict, true))
  t.equal(formatVerdict(verdict, { moves: 12 }), 'lost 0 doubled 0 misordered 0 unsignalled-gaps 0 moves 12')
  t.equal(
    formatVerdict(verdict, { scenarios: 3 }, true),
    'lost 0 doubled 0 misordered 0 unsignalled-gaps 0 false-gaps 0 scenarios 3',
  )
  t.end()
})

test('a publication that is jumped over is lost, and the place is an unsignalled gap', (t) => {
  const ledger = reading()
  publish(ledger, 1, 6)
  receive(ledger, 1, 2, 5, 6)
  const verdict = ledger.verdict()
  t.match(verdict, { ...clean, lost: 2, unsignalledGaps: 1 })
  t.match(verdict.details, [/s lost 2 of p between 3 and 4/])
  t.notOk(isClean(verdict))
  t.equal(formatVerdict(verdict, { moves: 1 }), 'lost 2 doubled 0 misordered 0 unsignalled-gaps 1 moves 1')
  t.end()
})

test('what is missing at the end, or altogether, is lost', (t) => {
  const tail = reading()
  publish(tail, 1, 3)
  receive(tail, 1)
  t.match(tail.verdict(), { ...clean, lost: 2 })
  const nothing = reading()
  publish(nothing, 1, 3)
  t.match(nothing.verdict(), { ...clean, lost: 3 })
  const late = reading()
  publish(late, 1, 2, 'later')
  t.match(late.verdict(), { ...clean, lost: 2 }, 'a publisher that began after the subscription')
  t.end()
})

test('a gap at the place explains it; anywhere else it does not', (t) => {
  const told = reading()
  publish(told, 1, 6)
  receive(told, 1, 2)
  told.gap('s', 'c', 'expired')
  receive(told, 5, 6)
  t.match(told.verdict(), { ...clean, told: 2 })

  const early = reading()
  publish(early, 1, 6)
  receive(early, 1)
  early.gap('s', 'c', 'expired')
  receive(early, 2, 5, 6)
  t.match(early.verdict(), { ...clean, lost: 2, unsignalledGaps: 1, falseGaps: 1 })

  const late = reading()
  publish(late, 1, 6)
  receive(late, 1, 2, 5)
  late.gap('s', 'c', 'expired')
  receive(late, 6)
  t.match(late.verdict(), { ...clean, lost: 2, unsignalledGaps: 1, falseGaps: 1 })
  t.notOk(isClean(late.verdict()))

  const idle = reading()
  publish(idle, 1, 2)
  receive(idle, 1)
  idle.gap('s', 'c', 'bus')
  receive(idle, 2)
  t.ok(isClean(idle.verdict()), 'a false gap is no loss')
  t.notOk(isClean(idle.verdict(), true))
  t.end()
})

test('a gap explains what was being published when it was told, not what is lost later', (t) => {
  const ledger = reading()
  publish(ledger, 1, 4)
  receive(ledger, 1, 2)
  ledger.gap('s', 'c', 'session')
  t.match(ledger.verdict(), { ...clean, told: 2 })
  publish(ledger, 5, 9)
  publish(ledger, 1, 2, 'later')
  t.match(
    ledger.verdict(),
    { ...clean, told: 2, lost: 7 },
    'a subscriber that fell silent after a gap is found',
  )
  t.end()
})

test('one gap covers every publisher of its channel, and no other channel and subscriber', (t) => {
  const ledger = reading()
  ledger.subscribed('other', 'c')
  ledger.subscribed('s', 'd')
  publish(ledger, 1, 3)
  publish(ledger, 1, 3, 'q')
  ledger.publishing('d', 'p', 1)
  ledger.accepted('d', 'p', 1)
  ledger.gap('s', 'c', 'bus')
  receive(ledger, 3)
  ledger.received('s', 'c', 'q', 2)
  ledger.received('s', 'c', 'q', 3)
  t.match(ledger.verdict(), { told: 3, lost: 7, falseGaps: 0 })
  t.end()
})

test('what comes twice is doubled, what comes after a later one is misordered', (t) => {
  const doubled = reading()
  publish(doubled, 1, 3)
  receive(doubled, 1, 2, 2, 3, 1)
  t.match(doubled.verdict(), { ...clean, doubled: 2, received: 3 })

  const misordered = reading()
  publish(misordered, 1, 4)
  receive(misordered, 1, 3, 2, 4)
  t.match(misordered.verdict(), { ...clean, misordered: 1 })

  const two = reading()
  publish(two, 1, 2)
  publish(two, 1, 2, 'q')
  two.received('s', 'c', 'q', 1)
  receive(two, 1, 2)
  two.received('s', 'c', 'q', 2)
  t.match(two.verdict(), clean, 'publishers may interleave')
  t.end()
})

test('in a channel with total order every two subscribers must agree', (t) => {
  const ledger = createLedger({ totalOrder: (channel) => channel === 'c' })
  for (const subscriber of ['a', 'b', 'd']) ledger.subscribed(subscriber, 'c')
  for (const publisher of ['p', 'q', 'r']) publish(ledger, 1, 1, publisher)
  const got: [string, string][] = [
    ['a', 'r'],
    ['b', 'p'],
    ['b', 'q'],
    ['b', 'r'],
    ['d', 'q'],
    ['d', 'p'],
    ['d', 'r'],
  ]
  for (const [subscriber, publisher] of got) ledger.received(subscriber, 'c', publisher, 1)
  t.match(
    ledger.verdict(),
    { misordered: 1 },
    'the first subscriber knows nothing of what the others disagree on',
  )

  const live = createLedger()
  for (const subscriber of ['a', 'b']) live.subscribed(subscriber, 'c')
  for (const publisher of ['p', 'q']) publish(live, 1, 1, publisher)
  for (const [subscriber, publisher] of [
    ['a', 'p'],
    ['a', 'q'],
    ['b', 'q'],
    ['b', 'p'],
  ] as const)
    live.received(subscriber, 'c', publisher, 1)
  t.match(live.verdict(), clean, 'elsewhere order is per publisher')
  t.end()
})

test('a publication with an unknown outcome may come once or not at all; a refused one may not come', (t) => {
  const unknown = reading()
  publish(unknown, 1, 1)
  unknown.publishing('c', 'p', 2)
  unknown.publishing('c', 'p', 3)
  publish(unknown, 4, 4)
  receive(unknown, 1, 3, 4)
  t.match(unknown.verdict(), { ...clean, published: 4, accepted: 2 })
  receive(unknown, 3)
  t.match(unknown.verdict(), { ...clean, doubled: 1 })

  const refused = reading()
  refused.publishing('c', 'p', 1)
  refused.refused('c', 'p', 1)
  publish(refused, 2, 2)
  receive(refused, 2)
  t.match(refused.verdict(), clean)
  receive(refused, 1)
  t.match(refused.verdict(), { phantoms: 1 })

  const invented = reading()
  receive(invented, 1)
  t.match(invented.verdict(), { phantoms: 1 })
  t.notOk(isClean(invented.verdict()))
  t.end()
})

test('due is what is published while subscribed', (t) => {
  const ledger = createLedger()
  publish(ledger, 1, 3)
  ledger.subscribed('s', 'c')
  publish(ledger, 4, 5)
  receive(ledger, 3, 4, 5)
  t.match(ledger.verdict(), clean, 'what was there before may come')
  ledger.unsubscribed('s', 'c')
  publish(ledger, 6, 9)
  t.match(ledger.verdict(), clean, 'what comes after is not due')
  t.throws(() => ledger.received('nobody', 'c', 'p', 1), /call subscribed first/)
  t.throws(() => ledger.subscribed('s', 'c'), /another name/)
  t.end()
})

test('200,000 publications to three subscribers take little memory and time', (t) => {
  const ledger = createLedger({ totalOrder: () => true })
  for (const subscriber of ['a', 'b', 'd']) ledger.subscribed(subscriber, 'c')
  globalThis.gc?.()
  const before = process.memoryUsage()
  for (let n = 1; n <= 200_000; n++) {
    ledger.publishing('c', 'p', n)
    for (const subscriber of ['a', 'b', 'd']) ledger.received(subscriber, 'c', 'p', n)
    ledger.accepted('c', 'p', n)
  }
  const after = process.memoryUsage()
  const grown = after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers
  t.ok(grown < 60 * 2 ** 20, `${Math.round(grown / 2 ** 20)} MiB`)
  t.match(ledger.verdict(), { ...clean, accepted: 200_000, received: 600_000 })
  t.end()
})

test('the ledger imports nothing, so that it runs in a browser too', (t) => {
  t.notMatch(readFileSync(new URL('../src/ledger.ts', import.meta.url), 'utf8'), /^import|import\(/m)
  t.end()
})

test('a gap may tell of what nobody knows the outcome of, and of nothing where that is allowed', (t) => {
  const unknown = reading()
  publish(unknown, 1, 2)
  receive(unknown, 1, 2)
  unknown.publishing('c', 'p', 3)
  unknown.gap('s', 'c', 'bus')
  t.match(unknown.verdict(), { ...clean, told: 0 })

  const refused = reading()
  refused.publishing('c', 'p', 1)
  refused.refused('c', 'p', 1)
  refused.gap('s', 'c', 'bus')
  t.match(refused.verdict(), { ...clean, falseGaps: 1 }, 'what did not happen is not missing')

  const allowed = reading({ mayTell: (_channel, reason) => reason === 'session' })
  allowed.gap('s', 'c', 'session')
  t.match(allowed.verdict(), clean)
  allowed.gap('s', 'c', 'bus')
  t.match(allowed.verdict(), { ...clean, falseGaps: 1 })
  t.end()
})
