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
  heartbeatMs: wantedMs = defaults.heartbeatMs,
  missedHeartbeats = defaults.missedHeartbeats,
  probeMs = defaults.probeMs,
}: HeartbeatOptions): Heartbeat {
  /** Beats in a row without a sign of life; -1 when there was one since the last. */
  // Nonsense becomes no storm of pings.
  const heartbeatMs = wantedMs >= 1 ? wantedMs : defaults.heartbeatMs
  let silent = 0
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
    if (late || ++silent >= missedHeartbeats) return probe()
    if (silent > 0) ping()
    wait(heartbeatMs, beat)
  }
  const probe = (withinMs = probeMs) => {
    cancel()
    probing = true
    ping()
    // An answer that came while the ping went out has ended it already.
    if (probing) wait(withinMs, (late) => (late ? probe(withinMs) : dead()))
  }
  wait(heartbeatMs, beat)
  return {
    heard: () => {
      silent = -1
      if (!probing || stopped) return
      // The next ping counts from here, however long the probe could have lasted: silence may be cut sooner.
      probing = false
      silent = 0
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
