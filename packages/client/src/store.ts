import { systemClock, type Clock } from '@everwire/core'
import type { Client } from './client.js'
import { createEmitter, type Off } from './emitter.js'

/** What a user interface needs to show something that changes. None of its functions needs `this`. */
export interface Store<Snapshot> {
  /** The state now: the same object as long as nothing changed. */
  getSnapshot(): Snapshot
  /** The state before anything came: what a server renders, and a browser that takes over from it. */
  getServerSnapshot(): Snapshot
  /** Hears of each change. Returns its own undo. */
  subscribe(onChange: () => void): Off
}

export interface LingerOptions {
  /** How long a store that nobody listens to goes on reading, in case somebody comes back. @default 1000 */
  lingerMs?: number
  /** @default the system's */
  clock?: Clock
}

/** A store that never changes. */
export const steady = <Snapshot>(snapshot: Snapshot): Store<Snapshot> => ({
  getSnapshot: () => snapshot,
  getServerSnapshot: () => snapshot,
  subscribe: () => () => {},
})

/**
 * A store that does something while somebody listens. It begins a microtask later, so that a look in passing costs
 * nothing, and ends `lingerMs` later, so that React's StrictMode and a change of views keep what they have. When it
 * begins again it begins anew: what came meanwhile is not known.
 */
export function whileHeard<Snapshot extends object>(
  client: Client,
  { lingerMs = 1_000, clock = systemClock }: LingerOptions,
  first: Snapshot,
  begin: (get: () => Snapshot, set: (change: Partial<Snapshot>) => void) => Off,
): Store<Snapshot> {
  const changes = createEmitter<{ change: () => void }>()
  let snapshot = first
  let listeners = 0
  let end: Off | undefined
  let cancel: Off = () => {}
  const set = (change: Partial<Snapshot>) => {
    const next = { ...snapshot, ...change }
    if (!differs(snapshot, next)) return
    snapshot = next
    changes.emit('change')
  }
  const finish = () => {
    end?.()
    end = undefined
  }
  const start = () => {
    set(first)
    const closed = client.on('state', ({ state }) => state === 'closed' && settle())
    const stop = begin(() => snapshot, set)
    end = () => {
      closed()
      stop()
    }
  }
  const settle = () => {
    cancel()
    if (listeners > 0) {
      if (!end) start()
    } else if (client.state === 'closed') finish()
    else if (end) cancel = clock.after(lingerMs, finish)
  }
  return {
    getSnapshot: () => snapshot,
    getServerSnapshot: () => first,
    subscribe(onChange) {
      const off = changes.on('change', onChange)
      let listens = true
      listeners++
      queueMicrotask(settle)
      return () => {
        if (!listens) return
        listens = false
        off()
        listeners--
        queueMicrotask(settle)
      }
    },
  }
}

/** Whether a field of `other` is another than in `one`. */
export const differs = <Snapshot extends object>(one: Snapshot, other: Snapshot) =>
  (Object.keys(other) as (keyof Snapshot)[]).some((key) => one[key] !== other[key])
