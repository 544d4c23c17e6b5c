import type { Clock } from '@everwire/core'

/** A clock that stands still until it is told to move. */
export interface FakeClock extends Clock {
  /** Timers that have not fired and were not cancelled. */
  readonly pending: number
  /** Milliseconds until the next timer; undefined when there is none. */
  readonly next: number | undefined
  /** Moves on by `ms`, firing each timer at its time, in order; whatever they start in microtasks runs between. */
  advance(ms: number): Promise<void>
  /** Jumps by `ms`, as a machine does that slept: timers due meanwhile fire afterwards, in order, all of them late. */
  sleep(ms: number): Promise<void>
  /** Lets everything that waits for microtasks run; time stands still. */
  settle(): Promise<void>
}

interface Timer {
  due: number
  run: () => void
}

// More than this in one move is a timer that arms itself again at once, for ever.
const mostTimers = 1_000_000

/** Makes a clock that starts at `startMs` and moves only by `advance` and `sleep`. */
export function createFakeClock({ startMs = 0 }: { startMs?: number } = {}): FakeClock {
  const timers = new Set<Timer>()
  let now = startMs

  // A turn of the event loop comes only after every microtask, however long their chain.
  const settle = () => new Promise<void>((resolve) => setImmediate(resolve))

  // A Set keeps the order of entry, so of two timers due at once the older one is found first.
  const earliest = () => {
    let found: Timer | undefined
    for (const timer of timers) if (!found || timer.due < found.due) found = timer
    return found
  }

  const runUntil = async (target: number) => {
    await settle()
    for (let fired = 0; ; fired++) {
      const timer = earliest()
      if (!timer || timer.due > target) break
      if (fired === mostTimers)
        throw new Error('the fake clock fired a million timers in one move: one re-arms itself at once')
      timers.delete(timer)
      now = Math.max(now, timer.due)
      timer.run()
      await settle()
    }
    now = Math.max(now, target)
  }

  return {
    get pending() {
      return timers.size
    },
    get next() {
      const timer = earliest()
      return timer && Math.max(0, timer.due - now)
    },
    now: () => now,
    after(ms, run) {
      const timer = { due: now + Math.max(0, ms), run }
      timers.add(timer)
      return () => {
        timers.delete(timer)
      }
    },
    advance: (ms) => runUntil(now + ms),
    async sleep(ms) {
      now += ms
      await runUntil(now)
    },
    settle,
  }
}
