import { EverwireError, type Cancel, type Clock } from '@everwire/core'
import {
  connect,
  createInbox,
  credsAuthenticator,
  type Msg,
  type MsgHdrs,
  type NatsConnection,
  type Subscription,
} from '@nats-io/transport-node'
import type { NatsSettings } from './options.js'

export interface ConnectionIdentity {
  /** Shown by the servers. */
  name: string
  /** First tokens of the subjects on which answers come. */
  inbox: string
}

export interface ConnectionHandler {
  /** The servers can be reached again: whatever was published meanwhile did not come. */
  reconnected(): void
  /** The servers cannot be reached: what is published from now on comes nowhere. */
  disconnected(): void
  /** What the operator must hear. */
  log(level: 'info' | 'warn' | 'error', fields: Readonly<Record<string, unknown>>, message: string): void
}

/** The connection to NATS, and whether it stands. It comes back by itself, for as long as it takes. */
export class Connection {
  readonly nats: NatsConnection
  readonly #clock: Clock
  readonly #owned: boolean
  readonly #handler: ConnectionHandler
  #connected = true
  #closed = false
  #losses = 0
  #waiting = new Set<() => void>()
  #flush: Promise<void> | undefined
  /** On a connection that goes on without this bus. */
  #subscriptions = new Set<Subscription>()

  private constructor(nats: NatsConnection, owned: boolean, clock: Clock, handler: ConnectionHandler) {
    this.nats = nats
    this.#owned = owned
    this.#clock = clock
    this.#handler = handler
    this.#watch().catch((cause: unknown) =>
      handler.log('error', { err: cause }, 'NATS is not watched any more'),
    )
  }

  /** @throws EverwireError `temporary` when no server can be reached in time, naming them */
  static async open(
    settings: NatsSettings,
    { name, inbox }: ConnectionIdentity,
    handler: ConnectionHandler,
  ): Promise<Connection> {
    const { connection, clock } = settings
    if (connection) return new Connection(connection, false, clock, handler)
    const { servers, credentials, user, pass, token, tls, connectTimeoutMs } = settings
    const deadline = clock.now() + connectTimeoutMs
    for (;;) {
      try {
        const nats = await connect({
          servers,
          name,
          inboxPrefix: inbox,
          user,
          pass,
          token,
          tls,
          ...(credentials === undefined
            ? {}
            : { authenticator: credsAuthenticator(new TextEncoder().encode(credentials)) }),
          timeout: connectTimeoutMs,
          maxReconnectAttempts: -1,
          reconnectTimeWait: 250,
          reconnectJitter: 250,
          // A refusal may pass: an operator mends the permissions while this node lives.
          ignoreAuthErrorAbort: true,
          // A half-open connection must be found within seconds.
          pingInterval: 5_000,
          maxPingOut: 2,
          noAsyncTraces: true,
        })
        return new Connection(nats, true, clock, handler)
      } catch (cause) {
        const left = deadline - clock.now()
        if (left <= 0 || isRefusal(cause))
          throw new EverwireError(
            'temporary',
            `NATS cannot be reached at ${servers.join(', ')}: ${(cause as Error).message}`,
            { cause },
          )
        await sleep(clock, Math.min(250, left))
      }
    }
  }

  get connected(): boolean {
    return this.#connected && !this.#closed
  }
  get closed(): boolean {
    return this.#closed
  }
  /** Whether streams and interest are spread over several servers. */
  get clustered(): boolean {
    const { info } = this.nats
    return info?.cluster !== undefined
  }

  /** Id of the server at the other end, or of the last one. */
  get server(): string {
    return this.nats.info?.server_id ?? ''
  }

  /** Largest message that the servers take, in bytes. */
  get maxPayload(): number {
    return this.nats.info?.max_payload ?? defaultMaxPayload
  }

  /** Resolves once connected. @throws EverwireError `temporary` after `waitMs`, or when the bus is closed */
  async ready(waitMs: number): Promise<void> {
    if (this.connected) return
    let cancel: Cancel = () => {}
    let wake = () => {}
    await new Promise<void>((resolve) => {
      wake = resolve
      this.#waiting.add(resolve)
      cancel = this.#clock.after(waitMs, resolve)
      if (this.#closed) resolve()
    })
    cancel()
    this.#waiting.delete(wake)
    if (!this.connected) throw this.unavailable()
  }

  unavailable(): EverwireError {
    return new EverwireError('temporary', this.#closed ? 'the bus is closed' : 'NATS cannot be reached now')
  }

  /**
   * Resolves once the server has everything that was published in this turn. The driver drops silently what is
   * published without a connection, so it is refused here before, and doubted when the connection was lost meanwhile.
   * @throws EverwireError `outcome-unknown`
   */
  flush(): Promise<void> {
    // One round trip for all that one turn of the event loop publishes.
    return (this.#flush ??= Promise.resolve().then(async () => {
      this.#flush = undefined
      const losses = this.#losses
      try {
        // The driver's flush has no end when the connection is closed meanwhile.
        await Promise.race([this.nats.flush(), this.nats.closed().then(rejectClosed)])
      } catch (cause) {
        throw new EverwireError('outcome-unknown', 'the connection to NATS was lost meanwhile', { cause })
      }
      if (losses !== this.#losses)
        throw new EverwireError('outcome-unknown', 'the connection to NATS was lost meanwhile')
    }))
  }

  subscribe(subject: string, heard: (message: Msg) => void): Subscription {
    if (this.#closed || this.nats.isClosed()) throw this.unavailable()
    const subscription = this.nats.subscribe(subject, {
      callback: (error, message) => {
        // What the server refuses is told by the connection's status, once for all.
        if (error) return
        try {
          heard(message)
        } catch (cause) {
          // Whatever it is, it must not end the driver's reading.
          this.#handler.log('error', { err: cause, subject: message.subject }, 'a message could not be taken')
        }
      },
    })
    if (!this.#owned) {
      this.#subscriptions.add(subscription)
      void subscription.closed.then(() => this.#subscriptions.delete(subscription))
    }
    return subscription
  }

  /** Publishes; whether the server has it, `flush` tells. @throws EverwireError `temporary` when that is impossible */
  publish(subject: string, payload: Uint8Array | string, headers: MsgHdrs, reply?: string): void {
    if (!this.connected || this.nats.isClosed()) throw this.unavailable()
    this.nats.publish(subject, payload, { headers, ...(reply ? { reply } : {}) })
  }

  /** A subject for the answers to one question. */
  inbox(): string {
    // The driver does not tell it, but has it; a connection that was handed in has its own.
    const { options } = this.nats as NatsConnection & { options?: { inboxPrefix?: string } }
    return createInbox(options?.inboxPrefix)
  }

  sleep(ms: number): Promise<void> {
    return sleep(this.#clock, ms)
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#wake()
    if (this.#owned) await this.nats.close()
    else for (const subscription of this.#subscriptions) subscription.unsubscribe()
  }

  async #watch(): Promise<void> {
    const handler = this.#handler
    for await (const status of this.nats.status()) {
      if (this.#closed) return
      if (status.type === 'disconnect' && this.#connected) {
        this.#connected = false
        this.#losses++
        handler.log('warn', { server: status.server }, 'the connection to NATS is lost')
        handler.disconnected()
      } else if (status.type === 'reconnect') {
        this.#connected = true
        handler.log('info', { server: status.server }, 'connected to NATS again')
        this.#wake()
        handler.reconnected()
      } else if (status.type === 'error') {
        handler.log('error', { err: status.error }, 'NATS reports an error')
      } else if (status.type === 'close') {
        handler.log('error', {}, 'the connection to NATS is closed for good')
        this.#connected = false
        handler.disconnected()
      }
    }
  }

  #wake(): void {
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const resolve of waiting) resolve()
  }
}

const rejectClosed = () => Promise.reject(new Error('the connection was closed'))

const defaultMaxPayload = 1_048_576

const sleep = (clock: Clock, ms: number) => new Promise<void>((resolve) => void clock.after(ms, resolve))

/** Asked again it would be refused again. */
const isRefusal = (cause: unknown) => (cause as Error).name === 'AuthorizationError'
