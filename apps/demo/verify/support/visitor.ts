import { setTimeout as sleep } from 'node:timers/promises'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import type { PathFaults } from '../../src/path-faults.js'

/** What a page wrote down, with the time of the machine in milliseconds. */
export type Entry =
  | { at: number; kind: 'subscribed'; channel: string }
  | { at: number; kind: 'publishing' | 'accepted' | 'refused'; channel: string; n: number }
  | { at: number; kind: 'received'; channel: string; publisher: string; n: number }
  | { at: number; kind: 'gap'; channel: string; reason: string }
  | { at: number; kind: 'state'; state: string; transport: string | undefined; why: string }

interface Recorder {
  entries: Entry[]
  /** Publications without an answer. */
  open: number
  stop(): void
}

declare global {
  interface Window {
    verification: Recorder
  }
}

/** One visitor of the demo: a browser of its own kind of cookies, with a page that publishes and writes all down. */
export interface Visitor {
  readonly name: string
  readonly page: Page
  /** Changes this visitor's path, from outside the page. */
  faults(change: Partial<PathFaults>): Promise<void>
  /** Takes what was written down since the last call. */
  take(): Promise<Entry[]>
  /** Resolves once the page is on this transport; rejects in time. */
  on(transport: string, timeoutMs: number): Promise<void>
  /** Public id of its session. */
  session(): Promise<string>
  /** Publishes no more. Resolves once everything has its answer; rejects in time. */
  settle(timeoutMs: number): Promise<void>
  close(): Promise<void>
}

export interface VisitorOptions {
  name: string
  url: string
  /** Publications a second, in each channel. */
  rates: Readonly<Record<string, number>>
}

export async function openVisitor(browser: Browser, { name, url, rates }: VisitorOptions): Promise<Visitor> {
  const context: BrowserContext = await browser.newContext()
  // tsx compiles with a helper of this name, which a function that is sent to the page then looks for.
  await context.addInitScript('globalThis.__name = (it) => it')
  const page = await context.newPage()
  const faults: string[] = []
  page.on('pageerror', (error) => faults.push(String(error)))
  await page.goto(url)
  await waitFor(
    page,
    'the first connection',
    () => window.everwireDemo?.state === 'connected',
    undefined,
    20_000,
  )
  await page.evaluate(record, { name, rates })
  return {
    name,
    page,
    async faults(change) {
      const response = await context.request.post(`${url}path/faults`, { data: change })
      if (!response.ok()) throw new Error(`the path answered ${response.status()}: ${await response.text()}`)
    },
    async take() {
      if (faults.length > 0) throw new Error(`${name}: the page failed: ${faults.join('; ')}`)
      return await page.evaluate(() => window.verification.entries.splice(0))
    },
    on: (transport, timeoutMs) =>
      waitFor(page, transport, (wanted) => window.everwireDemo.transport === wanted, transport, timeoutMs),
    session: () =>
      page.evaluate(
        async () =>
          ((await window.everwireDemo.client.request('server.info')) as { session: string }).session,
      ),
    async settle(timeoutMs) {
      await page.evaluate(() => window.verification.stop())
      await waitFor(page, 'the last answer', () => window.verification.open === 0, undefined, timeoutMs)
    },
    close: () => context.close(),
  }
}

/** Asks the page until it says yes. Playwright's own way needs eval, which the page's policy forbids. */
export async function waitFor<Arg>(
  page: Page,
  what: string,
  condition: (arg: Arg) => boolean,
  arg: Arg,
  timeoutMs: number,
): Promise<void> {
  const deadline = performance.now() + timeoutMs
  while (!(await page.evaluate(condition as (arg: unknown) => boolean, arg as unknown))) {
    if (performance.now() > deadline) {
      const explanation = await page.evaluate(() => window.everwireDemo?.explain())
      throw new Error(`${what} did not happen within ${timeoutMs} ms: ${JSON.stringify(explanation)}`)
    }
    await sleep(20)
  }
}

/** Runs in the page: it can see nothing of this file. */
async function record({ name, rates }: { name: string; rates: Readonly<Record<string, number>> }) {
  const { client } = window.everwireDemo
  const entries: Entry[] = []
  const now = () => performance.timeOrigin + performance.now()
  const recorder: Recorder = { entries, open: 0, stop: () => clearInterval(timer) }
  window.verification = recorder

  client.on('state', ({ state, transport, error }) =>
    entries.push({ at: now(), kind: 'state', state, transport, why: error?.message ?? '' }),
  )
  for (const name of Object.keys(rates)) {
    const channel = client.channel(name)
    channel.on('n', (data) => {
      const { publisher, n } = data as { publisher: string; n: number }
      entries.push({ at: now(), kind: 'received', channel: name, publisher, n })
    })
    channel.on('gap', ({ reason }) => entries.push({ at: now(), kind: 'gap', channel: name, reason }))
    await channel.subscribe()
    entries.push({ at: now(), kind: 'subscribed', channel: name })
  }

  const started = now()
  const sent = new Map(Object.keys(rates).map((channel) => [channel, 0]))
  const publish = (channel: string, n: number) => {
    entries.push({ at: now(), kind: 'publishing', channel, n })
    recorder.open++
    client
      .channel(channel)
      .publish('n', { publisher: name, n })
      .then(
        () => entries.push({ at: now(), kind: 'accepted', channel, n }),
        (error: { code: string }) => {
          // What may have happened is neither accepted nor refused.
          if (error.code !== 'outcome-unknown') entries.push({ at: now(), kind: 'refused', channel, n })
        },
      )
      .finally(() => recorder.open--)
  }
  const timer = setInterval(() => {
    for (const [channel, rate] of Object.entries(rates)) {
      const due = Math.floor(((now() - started) / 1_000) * rate)
      let n = sent.get(channel)!
      while (n < due) publish(channel, ++n)
      sent.set(channel, n)
    }
  }, 5)
}
