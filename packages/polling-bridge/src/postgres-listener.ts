import { Socket } from 'node:net'
import type { Cancel, Clock } from '@everwire/core'
import pg from 'pg'

export interface ListenerOptions {
  config: pg.ClientConfig
  channel: string
  clock: Clock
  pingMs: number | undefined
  timeoutMs: number | undefined
}

export interface ListenerHandler {
  /** From now on nothing is missed. */
  listening(): void
  notified(payload: string): void
  /** Called once, and nothing after it; not when it was closed. */
  lost(error: Error): void
}

/** One connection that listens to one channel, until it is lost or closed. Never calls back before it has returned. */
export function openListener(
  { config, channel, clock, pingMs = 30_000, timeoutMs = 10_000 }: ListenerOptions,
  { listening, notified, lost }: ListenerHandler,
): () => void {
  // Ours, because a client cannot be told to give up: its end() waits for the other side.
  const stream = config.stream?.() ?? new Socket()
  const client = new pg.Client({ ...config, stream: () => stream })
  let over = false
  let cancel: Cancel = () => {}

  const close = () => {
    over = true
    cancel()
    // Says goodbye where somebody can hear it, and does not wait for an answer.
    void client.end()
    stream.destroy()
  }

  const fail = (error: Error) => {
    if (over) return
    close()
    lost(error)
  }

  const answered = (answer: Promise<unknown>, next: () => void) => {
    cancel = clock.after(timeoutMs, () =>
      fail(new Error(`PostgreSQL has not answered within ${timeoutMs} ms`)),
    )
    answer.then(() => {
      if (over) return
      cancel()
      next()
    }, fail)
  }

  const ping = () => {
    cancel = clock.after(pingMs, () => answered(client.query('SELECT 1'), ping))
  }

  const listen = async () => {
    await client.connect()
    await client.query(`LISTEN ${client.escapeIdentifier(channel)}`)
  }

  // Both stay until the client is forgotten: an `error` that nobody hears ends the process.
  client.on('error', fail)
  client.on('end', () => fail(new Error('PostgreSQL has ended the connection')))
  client.on('notification', ({ payload = '' }) => {
    if (!over) notified(payload)
  })
  answered(listen(), () => {
    ping()
    listening()
  })
  return close
}
