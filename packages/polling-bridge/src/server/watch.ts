import { backoff, type Cancel, type Clock } from '@everwire/core'
import type { SignalContext } from '../signal.js'
import type { PollSettings } from './options.js'

export interface WatchOptions {
  clock: Clock
  settings(channel: string): PollSettings | undefined
  /** Reads, and publishes what changed. */
  refresh(channel: string): Promise<void>
  log: SignalContext['log']
  failed(what: 'read' | 'signal', channel: string, error: unknown): void
}

interface Loop {
  stop(): void
}

/** Reads resources again and again, or when a signal says so, while this node is to do it. */
export class Watch {
  readonly #options: WatchOptions
  readonly #loops = new Map<string, Loop>()

  constructor(options: WatchOptions) {
    this.#options = options
  }

  /** Channels that this node reads. */
  get channels(): string[] {
    return [...this.#loops.keys()]
  }

  has(channel: string): boolean {
    return this.#loops.has(channel)
  }

  /** From now on these, and no others. */
  lead(channels: ReadonlySet<string>): void {
    for (const [channel, loop] of this.#loops)
      if (!channels.has(channel)) {
        loop.stop()
        this.#loops.delete(channel)
      }
    for (const channel of channels) {
      const settings = this.#options.settings(channel)
      if (settings && !this.#loops.has(channel)) this.#loops.set(channel, this.#start(channel, settings))
    }
  }

  #start(channel: string, { watchMs, signal }: PollSettings): Loop {
    const { clock, refresh, failed } = this.#options
    let isOver = false
    let isReading = false
    let isWanted = false
    let failures = 0
    let cancel: Cancel = () => {}

    const read = async (): Promise<void> => {
      cancel()
      if (isReading) {
        isWanted = true
        return
      }
      isReading = true
      isWanted = false
      try {
        await refresh(channel)
        failures = 0
      } catch (error) {
        // Once for each time of trouble.
        if (failures++ === 0 && !isOver) failed('read', channel, error)
      }
      isReading = false
      if (isOver) return
      if (isWanted && failures === 0) return await read()
      const pauseMs = watchMs === false ? undefined : watchMs
      if (failures > 0) cancel = clock.after(Math.max(pauseMs ?? 0, backoff(failures)), read)
      else if (pauseMs !== undefined) cancel = clock.after(pauseMs, read)
    }
    void read()

    const stopSignal = signal ? this.#listen(channel, signal, () => void (isOver || read())) : undefined
    return {
      stop() {
        isOver = true
        cancel()
        stopSignal?.()
      },
    }
  }

  /** Starts a signal, again where it fails. */
  #listen(channel: string, signal: NonNullable<PollSettings['signal']>, changed: () => void): () => void {
    const { clock, log, failed } = this.#options
    let isOver = false
    let cancel: Cancel = () => {}
    let undo: (() => void) | undefined
    const start = async (attempt: number) => {
      try {
        const stop = await signal(changed, { clock, log })
        if (isOver) return stop()
        undo = stop
        // What changed before it listened.
        changed()
      } catch (error) {
        if (isOver) return
        failed('signal', channel, error)
        cancel = clock.after(backoff(attempt), () => void start(attempt + 1))
      }
    }
    void start(0)
    return () => {
      isOver = true
      cancel()
      undo?.()
    }
  }
}
