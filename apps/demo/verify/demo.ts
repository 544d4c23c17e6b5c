/**
 * Two visitors of the real demo in real browsers, each publishing 200 times a second and reading the other. One is moved
 * WebSocket → SSE → long polling → WebSocket by faults on its network path, and at last cut off for so long that history
 * has expired, which must be told by a gap. A ledger judges, by what the pages wrote down.
 *
 *     npm run verify:demo [-- --brief] [-- --sabotage drop|double|reorder|hide-gap]
 *
 * The last line is the verdict; the exit code is 1 when anything is wrong. With a sabotage that must be so.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { createLedger, formatVerdict, isClean } from '@everwire/testkit'
import { sabotageBus, sabotages, type Sabotage } from './support/sabotage.js'
import { setStage } from './support/stage.js'
import { openVisitor, waitFor, type Entry, type Visitor } from './support/visitor.js'

const { values } = parseArgs({ options: { sabotage: { type: 'string' }, brief: { type: 'boolean' } } })
const sabotage = values.sabotage as Sabotage | undefined
if (sabotage !== undefined && !sabotages.includes(sabotage)) {
  console.error(`--sabotage must be one of ${sabotages.join(', ')}`)
  process.exit(2)
}

/** How long each state of the path lasts. */
const phaseMs = values.brief ? 1_500 : 5_000
/** How long a move may take, the background upgrade of the demo among them: it looks every 3 s on average. */
const moveMs = 20_000
const settleMs = 30_000
const historyChannel = 'verify:stored'
const liveChannel = 'verify:live'
/** Publications a second of each visitor: together 200. */
const rates = { [historyChannel]: 150, [liveChannel]: 50 }
/** Less than is published while a visitor is cut off. */
const historySize = 300

const started = Date.now()
const say = (text: string) =>
  console.log(`${((Date.now() - started) / 1_000).toFixed(1).padStart(6)} s  ${text}`)

const stage = await setStage()
const { everwire } = stage.demo
everwire.channel(historyChannel, { history: { size: historySize }, subscribe: true, publish: true })
everwire.channel(liveChannel, { subscribe: true, publish: true })
if (sabotage) {
  sabotageBus(everwire.bus, sabotage, (channel) => channel === historyChannel)
  say(`the product is sabotaged: ${sabotage}`)
}

const ledger = createLedger({ totalOrder: (channel) => channel === historyChannel })
const gaps: string[] = []
const moves: string[] = []
let unexpected = 0
const entries: { visitor: string; entry: Entry }[] = []

const visitors: Visitor[] = []
const collect = async () => {
  for (const visitor of visitors)
    for (const entry of await visitor.take()) entries.push({ visitor: visitor.name, entry })
}

/** Changes the path of a visitor and waits for what its client makes of it; nobody tells the client. */
const move = async (
  visitor: Visitor,
  transport: string,
  change: Parameters<Visitor['faults']>[0],
): Promise<void> => {
  const from = await visitor.page.evaluate(() => window.everwireDemo.transport)
  const at = performance.now()
  await visitor.faults(change)
  await visitor.on(transport, moveMs)
  moves.push(`${from} → ${transport}`)
  say(
    `${visitor.name}: ${JSON.stringify(change)}: ${from} → ${transport} after ${Math.round(performance.now() - at)} ms`,
  )
  await sleep(phaseMs)
  await collect()
}

try {
  for (const name of ['ann', 'ben'])
    visitors.push(await openVisitor(stage.browser, { name, url: stage.url, rates }))
  const [ann, ben] = visitors as [Visitor, Visitor]
  for (const visitor of visitors) await visitor.on('websocket', moveMs)
  say('two visitors on WebSocket, 200 publications a second each')
  await sleep(phaseMs)

  await move(ann, 'sse', { websocket: 'blocked' })
  await move(ann, 'long-polling', { sse: 'blocked' })
  await move(ann, 'websocket', { websocket: 'ok', sse: 'ok' })
  if (!values.brief) {
    await move(ann, 'long-polling', { websocket: 'silent', sse: 'held' })
    await move(ann, 'websocket', { websocket: 'ok', sse: 'ok' })
  }

  // So long that what it missed has expired, and its session with it: told by gaps, or it is a loss.
  const session = await ann.session()
  await ann.faults({ cable: 'cut' })
  await sleep((historySize / rates[historyChannel]!) * 1_000 + 1_500)
  everwire.session(session)?.end('unknown-session', 'as if the resume window had passed')
  await ann.faults({ cable: 'ok' })
  await waitFor(ann.page, 'coming back', () => window.everwireDemo.state === 'connected', undefined, moveMs)
  say(
    `ann: cut off until its history had expired, and back on ${await ann.page.evaluate(() => window.everwireDemo.transport)}`,
  )
  await sleep(phaseMs)

  for (const visitor of visitors) await visitor.settle(settleMs)
  // Everything is answered: what the last publications bring is on its way already.
  await sleep(1_000)
  await collect()
  const { attempts } = await ben.page.evaluate(() => window.everwireDemo.explain())
  unexpected += attempts.filter(({ ok }) => !ok).length
} finally {
  await stage.close()
}

// In the order in which it happened on the one machine; a publication begins before all else of the same moment.
const rank = ({ entry }: { entry: Entry }) => (entry.kind === 'publishing' ? 0 : 1)
entries.sort((a, b) => a.entry.at - b.entry.at || rank(a) - rank(b))
for (const { visitor, entry } of entries) {
  if (entry.kind === 'subscribed') ledger.subscribed(visitor, entry.channel)
  else if (entry.kind === 'received') ledger.received(visitor, entry.channel, entry.publisher, entry.n)
  else if (entry.kind === 'gap') {
    ledger.gap(visitor, entry.channel, entry.reason)
    gaps.push(`${visitor} ${entry.channel} ${entry.reason}`)
  } else if (entry.kind !== 'state') ledger[entry.kind](entry.channel, visitor, entry.n)
}

const verdict = ledger.verdict()
const { published, accepted, received, told, falseGaps, phantoms, details } = verdict
for (const detail of details) console.log(`  ${detail}`)
say(`gaps told: ${gaps.join(', ') || 'none'}`)
say(
  `published ${published} accepted ${accepted} received ${received} told ${told} false-gaps ${falseGaps} phantoms ${phantoms}`,
)

// A run in which little happened shows nothing.
const faults = [
  ...(isClean(verdict, true) ? [] : ['the ledger is not clean']),
  ...(accepted < published * 0.8 ? [`only ${accepted} of ${published} publications were accepted`] : []),
  ...(told === 0 ? ['nothing expired for the visitor that was cut off: no gap was put to the test'] : []),
  ...(unexpected > 0 ? [`ben, whose path was never touched, had ${unexpected} failed attempts`] : []),
]
for (const fault of faults) console.error(`FAILED: ${fault}`)
console.log(formatVerdict(verdict, { moves: moves.length }))
process.exitCode = faults.length > 0 ? 1 : 0
