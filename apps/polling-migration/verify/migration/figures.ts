import { setTimeout as sleep } from 'node:timers/promises'
import type { Browser } from 'playwright-core'
import { isLive } from '../../src/steps.js'
import { startApp, type AppOptions, type AppProcess } from './app-process.js'
import { startCrowd } from './crowd.js'
import { createJudge, type Verdict } from './judge.js'
import { tellStory, type Story } from './story.js'
import { until } from './until.js'
import { createWriter, type Writer } from './writer.js'

/** What one step cost its server, and what its clients had of it. */
export interface Figures extends Verdict {
  step: string
  /** Of the clients, per minute, while orders change. */
  requests: number
  /** Both ways on the wire, per minute, while nothing changes. */
  quietBytes: number
  /** The same while orders change. */
  busyBytes: number
  /** Milliseconds of the server's CPU per second, while orders change. */
  cpuMs: number
  /** Missing where it was not told. */
  story: Story | undefined
}

export interface FiguresOptions extends AppOptions {
  browser: Browser
  clients: number
  intervalMs: number
  /** How long nothing changes, and then how long orders do. */
  phaseMs: number
  /** Between two changes. */
  everyMs: number
  /** Whether real browsers take part. */
  hasStory: boolean
}

const patienceMs = 20_000
/** Orders that there are before anything is measured, so that an answer has a usual size. */
const firstOrders = 30

/** Plays one step: clients in a process of their own, changes by the API, and a story in a real browser. */
export async function measure(options: FiguresOptions): Promise<Figures> {
  const { step, browser, clients, intervalMs, phaseMs, everyMs, hasStory } = options
  const app = await startApp(options)
  const users = Array.from({ length: Math.ceil(clients / 2) }, (_, i) => `u${i + 1}`)
  const writer = createWriter({ url: () => app.url, users })
  for (let i = 0; i < firstOrders * 3; i++) await writer.write()
  const judge = createJudge()
  const kind = isLive(step) ? 'poll' : 'fetch'
  const crowd = startCrowd({ kind, url: app.url, clients, users, intervalMs }, judge.shown)
  try {
    const atStart = await writer.truth()
    await until(
      'all clients show the orders',
      () => judge.isCurrent(atStart, clients),
      intervalMs + patienceMs,
    )
    if (isLive(step)) await until('all are live', () => crowd.count('live') === clients, patienceMs)
    // What the beginning cost is not part of it.
    await sleep(intervalMs)

    const quiet = await during(app, writer, () => sleep(phaseMs))
    judge.measure()
    const busy = await during(app, writer, () => writer.during(phaseMs, everyMs))

    const truth = await writer.truth()
    await until(
      'all clients show the end',
      () => judge.isCurrent(truth, clients),
      intervalMs + patienceMs,
    ).catch(() => {})
    const verdict = judge.verdict(truth, clients)
    await crowd.stop()
    const story = hasStory ? await tellStory(browser, app.url, step) : undefined
    return {
      step,
      ...verdict,
      requests: busy.requests,
      quietBytes: quiet.bytes,
      busyBytes: busy.bytes,
      cpuMs: busy.cpuMs,
      story,
    }
  } finally {
    await crowd.stop()
    await app.stop()
  }
}

/** What the server does meanwhile: requests of the clients and bytes per minute, CPU per second. */
async function during(app: AppProcess, writer: Writer, play: () => Promise<void>) {
  const [before, writes, started] = [await app.read(), writer.requests, performance.now()]
  await play()
  const after = await app.read()
  const minutes = (performance.now() - started) / 60_000
  return {
    requests: (after.requests - before.requests - (writer.requests - writes)) / minutes,
    bytes: (after.bytes - before.bytes) / minutes,
    cpuMs: (after.cpuMs - before.cpuMs) / (minutes * 60),
  }
}
