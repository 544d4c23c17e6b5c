import { backoff, type Cancel, type Clock, type Position } from '@everwire/core'
import type { Everwire, FollowedPublication } from '@everwire/server'
import { controlChannel, type Control } from '../change.js'
import { assertControl } from './options.js'

const event = 'set'

export interface SwitchOptions {
  everwire: Pick<Everwire, 'follow' | 'history' | 'publish'>
  clock: Clock
  switched(control: Control): void
  failed(error: unknown): void
}

/** The operators' switch, as every node follows it. */
export class Switch {
  readonly #options: SwitchOptions
  #control: Control = {}
  #position: Position | undefined
  #cancel: Cancel | undefined
  #stop: (() => void) | undefined
  #closed = false

  constructor(options: SwitchOptions) {
    this.#options = options
  }

  get control(): Control {
    return this.#control
  }

  /** Resolves after the first attempt; what failed is tried again. */
  async start(attempt = 0): Promise<void> {
    const { everwire, clock, failed } = this.#options
    try {
      const stop = await everwire.follow(controlChannel, {
        publication: (publication) => this.#hear(publication),
        gap: () => void this.#read().catch(failed),
      })
      if (this.#closed) return stop()
      this.#stop = stop
      await this.#read()
    } catch (error) {
      if (this.#closed) return
      this.#stop?.()
      failed(error)
      this.#cancel = clock.after(100 + backoff(attempt), () => void this.start(attempt + 1))
    }
  }

  /** Switches all nodes. Rejects with an EverwireError: what the bus says. */
  async set({ mode, rollout }: Control): Promise<void> {
    const data = { ...(mode !== undefined && { mode }), ...(rollout !== undefined && { rollout }) }
    const position = await this.#options.everwire.publish(controlChannel, event, data)
    this.#hear({ event, data, position, userId: undefined })
  }

  close(): void {
    this.#closed = true
    this.#cancel?.()
    this.#stop?.()
  }

  async #read(): Promise<void> {
    const { publications } = await this.#options.everwire.history(controlChannel)
    for (const publication of publications) this.#hear(publication)
  }

  #hear({ event: said, data, position }: FollowedPublication): void {
    if (said !== event || !position || this.#closed) return
    const last = this.#position
    if (last && last.epoch === position.epoch && position.offset <= last.offset) return
    this.#position = position
    try {
      const control = (data ?? {}) as Control
      assertControl(control)
      this.#control = { mode: control.mode, rollout: control.rollout }
      this.#options.switched(this.#control)
    } catch (error) {
      this.#options.failed(error)
    }
  }
}
