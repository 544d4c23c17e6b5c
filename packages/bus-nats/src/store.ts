import { EverwireError, randomBase32, type Message, type Position } from '@everwire/core'
import { JetStreamApiError } from '@nats-io/jetstream'
import { NoRespondersError, RequestError } from '@nats-io/transport-node'
import type { Connection } from './connection.js'
import { encodeMessage } from './message.js'
import type { NatsSettings } from './options.js'
import type { Partition } from './partition.js'

export interface StoreOptions {
  connection: Connection
  settings: Pick<NatsSettings, 'publishTimeoutMs' | 'maxPending' | 'maxPendingBytes' | 'clock'>
  /** A repeat was recognised: whoever waits for what was stored first may have missed it. */
  repeated(partition: Partition, subject: string): void
}

const attemptMs = 2_000
const firstDelayMs = 50
const maxDelayMs = 1_000

/** Stores publications once, however often the servers have to be asked; bounded in number, bytes and time. */
export class Store {
  readonly #options: StoreOptions
  #pending = 0
  #bytes = 0

  constructor(options: StoreOptions) {
    this.#options = options
  }

  /**
   * @throws EverwireError `temporary` when it was not stored, `outcome-unknown` when it may have been; both after
   *   `publishTimeoutMs`, or at half of the dedup window: a later retry could store it twice
   */
  async store(
    partition: Partition,
    subject: string,
    message: Message,
    id = randomBase32(26),
  ): Promise<Position> {
    const { maxPending, maxPendingBytes } = this.#options.settings
    const { payload, headers } = encodeMessage(message, this.#options.connection.maxPayload)
    if (this.#pending >= maxPending || this.#bytes + payload.length > maxPendingBytes)
      throw new EverwireError('temporary', `${this.#pending} publications wait for NATS already`)
    this.#pending++
    this.#bytes += payload.length
    try {
      return await this.#until(partition, subject, (timeoutMs) =>
        partition.publish(subject, payload, { id, headers, timeoutMs }),
      )
    } finally {
      this.#pending--
      this.#bytes -= payload.length
    }
  }

  async #until(
    partition: Partition,
    subject: string,
    attempt: (timeoutMs: number) => ReturnType<Partition['publish']>,
  ): Promise<Position> {
    const { connection, settings, repeated } = this.#options
    const { clock, publishTimeoutMs } = settings
    const deadline = clock.now() + Math.min(publishTimeoutMs, partition.history.dedupWindowMs / 2)
    let delay = firstDelayMs
    let doubtful = false
    let last: unknown
    do {
      try {
        await connection.ready(Math.max(0, deadline - clock.now()))
        const { position, duplicate } = await attempt(
          Math.min(attemptMs, Math.max(1, deadline - clock.now())),
        )
        if (duplicate) repeated(partition, subject)
        return position
      } catch (error) {
        last = error
        if (connection.closed) break
        // Without anybody to answer, or refused, nothing was stored; after anything else it may have been.
        if (isNobodyThere(error)) await partition.inspect().catch(() => {})
        else if (!(error instanceof EverwireError || error instanceof JetStreamApiError)) doubtful = true
      }
      await connection.sleep(Math.min(delay, Math.max(0, deadline - clock.now())))
      delay = Math.min(delay * 2, maxDelayMs)
    } while (clock.now() < deadline)
    throw doubtful
      ? new EverwireError('outcome-unknown', 'NATS did not say in time whether it was stored', {
          cause: last,
        })
      : new EverwireError('temporary', 'NATS could not store it in time', { cause: last })
  }
}

function isNobodyThere(error: unknown): boolean {
  if (error instanceof NoRespondersError || (error instanceof RequestError && error.isNoResponders()))
    return true
  return error instanceof Error && error.cause !== undefined && isNobodyThere(error.cause)
}
