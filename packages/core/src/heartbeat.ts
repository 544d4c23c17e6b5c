import type { Cancel, Clock } from './clock.js'
import * as defaults from './limits.js'

export interface HeartbeatOptions {
  clock: Clock
  /** Asks the other end for a sign of life. */
  ping(): void
  /** The other end gave none: the link is dead. */
  dead(): void
  /** @default 25000 */
  heartbeatMs?: number | undefined
  /** @default 2 */
  missedHeartbeats?: number | undefined
  /** @default 5000 */
  probeMs?: number | undefined
}

export interface Heartbeat {
  /** Anything was received. */
  heard(): void
  /** Asks now, and has the other end answer within so long: something may have happened to the path. */
  probe(withinMs?: number): void
  stop(): void
}

/**
 * Finds dead links: a ping after each interval of silence, and after `missedHeartbeats` intervals of silence one probe that must be
 * answered within `probeMs`. A timer that fires late (sleep, throttled tab) proves nothing about the other end, so it
 * leads to a probe, never to a verdict.
 */
export function createHeartbeat({
  clock,
  ping,
  dead,
  heartbeatMs = defaults.heartbeatMs,
  missedHeartbeats = defaults.missedHeartbeats,
  probeMs = defaults.probeMs,
}: HeartbeatOptions): Heartbeat {
  let heard = false
  let missed = 0
  let probing = false
  let stopped = false
  let cancel: Cancel = () => {}

  const wait = (ms: number, due: (late: boolean) => void) => {
    // A ping may find out that the link is gone, and stop this.
    if (stopped) return
    const expected = clock.now() + ms
    cancel = clock.after(ms, () => due(clock.now() - expected > ms / 2))
  }
  const beat = (late: boolean) => {
    const silent = !heard
    missed = !silent || late ? 0 : missed + 1
    if (late || missed >= missedHeartbeats) return probe()
    heard = false
    if (silent) ping()
    wait(heartbeatMs, beat)
  }
  const probe = (withinMs = probeMs) => {
    cancel()
    heard = false
    probing = true
    ping()
    // An answer that came while the ping went out has ended it already.
    if (probing) wait(withinMs, (late) => (late ? probe(withinMs) : dead()))
  }
  wait(heartbeatMs, beat)
  return {
    heard: () => {
      heard = true
      if (!probing || stopped) return
      // The next ping counts from here, however long the probe could have lasted: silence may be cut sooner.
      probing = false
      missed = 0
      heard = false
      cancel()
      wait(heartbeatMs, beat)
    },
    probe,
    stop: () => {
      stopped = true
      cancel()
    },
  }
}
