import type { Clock } from '@everwire/core'
import type { FakeClock } from '@everwire/testkit'
import type { TabChannel, TabEnvironment, TabLocks } from '../../src/tabs/environment.js'

/** One page of a browser that is made of nothing but a clock: it can be frozen, put away, and killed. */
export interface Page {
  readonly name: string
  readonly environment: TabEnvironment
  readonly clock: Clock
  readonly alive: boolean
  /** Nothing of it runs any more, and nobody is told; its locks become free. */
  kill(): void
  /** Nothing of it runs until `thaw`; what happens meanwhile waits. It keeps its locks. */
  freeze(): void
  thaw(): void
  /** What the browser tells a page. */
  tell(type: 'pagehide' | 'pageshow' | 'freeze' | 'resume'): void
}

interface Request {
  page: Page
  run(task: () => void): void
  granted: () => Promise<void> | undefined
  resolve(): void
  reject(error: DOMException): void
}

interface Lock {
  holder: Request | undefined
  queue: Request[]
}

export interface Browser {
  page(name: string): Page
  /** Who holds the lock whose name begins so. */
  holder(prefix: string): string | undefined
  readonly locks: ReadonlyMap<string, Lock>
  /** Posts as some other script of the origin would. */
  shout(channel: string, message: unknown): void
  readonly channels: readonly string[]
  /** Drops messages between tabs, where it says so. */
  drop: (message: unknown) => boolean
}

/** @param delay how long a message between tabs is on its way */
export function createBrowser(clock: FakeClock, delay: () => number = () => 0): Browser {
  const locks = new Map<string, Lock>()
  const endpoints = new Map<string, Set<{ run(task: () => void): void; channel: TabChannel }>>()

  const lockOf = (name: string) => {
    let lock = locks.get(name)
    if (!lock) locks.set(name, (lock = { holder: undefined, queue: [] }))
    return lock
  }
  const release = (lock: Lock, request: Request) => {
    if (lock.holder !== request) return
    lock.holder = undefined
    request.run(request.resolve)
    grant(lock)
  }
  const grant = (lock: Lock) => {
    const next = lock.holder ? undefined : lock.queue.shift()
    if (!next) return
    lock.holder = next
    next.run(() => {
      if (lock.holder !== next) return
      void Promise.resolve(next.granted()).then(() => release(lock, next))
    })
  }
  const deliver = (name: string, message: unknown, from?: TabChannel) => {
    if (browser.drop(message)) return
    for (const { channel, run } of [...(endpoints.get(name) ?? [])])
      if (channel !== from) {
        const data: unknown = structuredClone(message)
        run(() => channel.onmessage?.({ data }))
      }
  }

  const browser: Browser = {
    locks,
    drop: () => false,
    holder: (prefix) =>
      [...locks].find(
        ([name, { holder }]) => holder && name.startsWith(prefix) && !name.includes(' tab '),
      )?.[1].holder!.page.name,
    shout: (channel, message) => deliver(channel, message),
    get channels() {
      return [...endpoints].filter(([, { size }]) => size > 0).map(([name]) => name)
    },
    page(name) {
      let state: 'awake' | 'frozen' | 'dead' = 'awake'
      let waiting: (() => void)[] = []
      let last = 0
      const target = new EventTarget()
      const wake = (task: () => void) => {
        if (state === 'awake') task()
        else if (state === 'frozen') waiting.push(task)
      }
      // What concerns one page comes in order, as from one event loop.
      const run = (task: () => void) => {
        last = Math.max(last, clock.now() + delay())
        clock.after(last - clock.now(), () => wake(task))
      }
      const requests: [Lock, Request][] = []
      const page: Page = {
        name,
        get alive() {
          return state !== 'dead'
        },
        clock: {
          now: () => clock.now(),
          after(ms, task) {
            let isOff = false
            const cancel = clock.after(ms, () => wake(() => void (isOff || task())))
            return () => {
              isOff = true
              cancel()
            }
          },
        },
        environment: {
          page: target,
          locks: {
            request: (name, { signal, steal }, granted) =>
              new Promise<void>((resolve, reject) => {
                const lock = lockOf(name)
                const request: Request = { page, run, granted, resolve, reject }
                requests.push([lock, request])
                signal?.addEventListener('abort', () => {
                  if (!lock.queue.includes(request)) return
                  lock.queue = lock.queue.filter((one) => one !== request)
                  reject(new DOMException('aborted', 'AbortError'))
                })
                if (steal && lock.holder) {
                  const robbed = lock.holder
                  lock.holder = undefined
                  robbed.run(() => robbed.reject(new DOMException('stolen', 'AbortError')))
                }
                if (steal) lock.queue.unshift(request)
                else lock.queue.push(request)
                grant(lock)
              }),
          } satisfies TabLocks,
          channel(name) {
            const all = endpoints.get(name) ?? new Set()
            endpoints.set(name, all)
            const channel: TabChannel = {
              onmessage: null,
              postMessage: (message) => state !== 'dead' && deliver(name, message, channel),
              close: () => all.delete(entry),
            }
            const entry = { run, channel }
            all.add(entry)
            return channel
          },
        },
        kill() {
          state = 'dead'
          waiting = []
          for (const all of endpoints.values())
            for (const entry of all) if (entry.run === run) all.delete(entry)
          for (const [lock, request] of requests) {
            lock.queue = lock.queue.filter((one) => one !== request)
            release(lock, request)
          }
        },
        freeze() {
          if (state === 'awake') state = 'frozen'
        },
        thaw() {
          if (state !== 'frozen') return
          state = 'awake'
          const tasks = waiting
          waiting = []
          for (const task of tasks) run(task)
        },
        tell: (type) => target.dispatchEvent(new Event(type)),
      }
      return page
    },
  }
  return browser
}
