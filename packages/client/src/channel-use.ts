import { EverwireError, type Position } from '@everwire/core'
import type { Channel } from './channel.js'
import type { Client } from './client.js'
import { createEmitter, type Off } from './emitter.js'

/** `failed` the server refused the channel, took it back, or the client is closed. */
export type ChannelStatus = 'idle' | 'subscribing' | 'subscribed' | 'failed'

/** By channel, which is the same object as long as its client lives. */
const uses = new WeakMap<Channel, ChannelUse>()

/** The use of a channel that all its stores share. @throws EverwireError `invalid-channel` */
export function channelUse(client: Client, name: string): ChannelUse {
  const channel = client.channel(name)
  let use = uses.get(channel)
  if (!use) uses.set(channel, (use = new ChannelUse(client, channel)))
  return use
}

/** One subscription for all that read a channel: the first subscribes, the last unsubscribes. */
class ChannelUse {
  readonly channel: Channel
  readonly #client: Client
  readonly #changes = createEmitter<{ change: () => void }>()
  #users = 0
  /** Told apart by identity: the answer of an attempt that was given up means nothing. */
  #attempt: object | undefined
  #undo: Off[] = []
  #status: ChannelStatus = 'idle'
  #error: EverwireError | undefined
  /** Where the subscription that is being asked for begins. */
  #from: Position | undefined

  constructor(client: Client, channel: Channel) {
    this.#client = client
    this.channel = channel
  }

  get status(): ChannelStatus {
    return this.#status
  }
  get error(): EverwireError | undefined {
    return this.#error
  }

  /** Whether who joins now gets what comes after a position. */
  reaches(position: Position): boolean {
    if (this.#status === 'subscribing') return isAfter(position, this.#from)
    const isRead = this.#status === 'subscribed' || this.channel.subscribed
    return !isRead || isAfter(position, this.channel.position)
  }

  /** Reads the channel until the undo; the first one may say after which position. After a failure it tries again. */
  join(position: Position | undefined, onChange: () => void): Off {
    const off = this.#changes.on('change', onChange)
    this.#users++
    if (!this.#attempt) this.#begin(position)
    return () => {
      off()
      if (--this.#users === 0) this.#end()
    }
  }

  #begin(position: Position | undefined): void {
    if (this.#client.state === 'closed')
      return this.#fail(new EverwireError('closed', 'the client is closed'))
    const { channel } = this
    const attempt = (this.#attempt = {})
    this.#undo = [
      channel.on('unsubscribed', ({ code }) => this.#fail(new EverwireError(code))),
      this.#client.on('state', ({ state, error }) => {
        if (state === 'closed') this.#fail(error ?? new EverwireError('closed'))
      }),
    ]
    // What the application reads itself is not ended by the last store.
    if (channel.subscribed) return this.#enter('subscribed')
    this.#undo.push(() => {
      // Nobody waits for it: what fails here ends with the session at the latest.
      channel.unsubscribe().catch(() => {})
    })
    this.#from = position
    this.#enter('subscribing')
    channel.subscribe(position ? { position } : {}).then(
      () => this.#attempt === attempt && this.#enter('subscribed'),
      (error: EverwireError) => this.#attempt === attempt && this.#fail(error),
    )
  }

  #fail(error: EverwireError): void {
    this.#release()
    this.#enter('failed', error)
  }

  #end(): void {
    this.#release()
    this.#enter('idle')
  }

  #release(): void {
    this.#attempt = undefined
    const undo = this.#undo
    this.#undo = []
    for (const off of undo) off()
  }

  #enter(status: ChannelStatus, error?: EverwireError): void {
    this.#status = status
    this.#error = error
    this.#changes.emit('change')
  }
}

/** Whether a position is another's, or after it. */
export const isAfter = (position: Position, other: Position | undefined): boolean =>
  position.epoch === other?.epoch && position.offset >= other.offset
