import { Socket } from 'node:net'
import { backoff, type BackoffOptions, type Cancel } from '@everwire/core'
import pg from 'pg'
import { openListener } from './postgres-listener.js'
import type { Signal } from './signal.js'

export interface PostgresSignalOptions extends Pick<BackoffOptions, 'backoffMs' | 'maxBackoffMs'> {
  /** Where the database is, as in `postgres://user@host:5432/database`. */
  connectionString?: string
  /** More that a `Client` of `pg` takes: `host`, `user`, `password`, `ssl` and so on. */
  client?: pg.ClientConfig
  /** What the trigger notifies: exactly this name, in its case. At most 63 bytes. */
  channel: string
  /** Whether a notification says anything about what is read here. @default all do */
  filter?: (payload: string) => boolean
  /** How often the connection is asked for a sign of life. @default 30000 */
  pingMs?: number
  /** How long a connection may take to listen, and then to give a sign of life. @default 10000 */
  timeoutMs?: number
}

/** PostgreSQL cuts the name of a LISTEN here, and refuses that of a pg_notify. */
const mostChannelBytes = 63

/**
 * A signal that comes when PostgreSQL notifies a channel. What notifies is a trigger, whoever writes:
 *
 * ```sql
 * CREATE FUNCTION notify_orders() RETURNS trigger LANGUAGE plpgsql AS $$
 * BEGIN
 *   PERFORM pg_notify('orders', TG_OP);
 *   RETURN NULL;
 * END $$;
 *
 * CREATE TRIGGER notify_orders
 *   AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON orders
 *   FOR EACH STATEMENT EXECUTE FUNCTION notify_orders();
 * ```
 *
 * A notification is sent when its transaction commits, once for all that are equal, and never when it is rolled back. So
 * who reads after it sees what was written; not on a replica, which may be behind, and where nobody can LISTEN.
 * Transactions that notify commit one after the other: a table with thousands of writes a second is better watched.
 *
 * It takes a connection of its own, which must not go through a pooler that gives it away after each transaction. What
 * is sent while that is lost is lost too, so there is a signal whenever it listens: at the start, and again.
 *
 * @throws TypeError when an option cannot be right. A database that is away is tried for ever, and told to the log.
 */
export function postgresSignal(options: PostgresSignalOptions): Signal {
  const { connectionString, client, channel, filter = () => true, pingMs, timeoutMs, ...waits } = options
  const config = { keepAlive: true, ...client, ...(connectionString !== undefined && { connectionString }) }
  check(channel)
  // Never connected: what is wrong with an address is thrown here, where it can be seen.
  const { host, port } = new pg.Client({ ...config, stream: () => new Socket() })
  const about = { channel, server: `${host}:${port}` }

  return (changed, { clock, log }) => {
    let stopped = false
    let attempt = 0
    /** Of the outage that has been told; undefined while all is well. */
    let told: string | undefined
    let cancel: Cancel = () => {}

    const matters = (payload: string) => {
      try {
        return filter(payload)
      } catch (error) {
        log('error', { ...about, err: error }, 'the filter of a PostgreSQL signal has thrown')
        // One reading too many does no harm.
        return true
      }
    }

    const lost = (error: Error) => {
      if (stopped) return
      if (told !== error.message)
        log('warn', { ...about, err: error }, 'PostgreSQL cannot be listened to: trying again')
      told = error.message
      cancel = clock.after(backoff(attempt++, waits), connect)
    }

    const handler = {
      listening() {
        if (told !== undefined) log('info', about, 'PostgreSQL is listened to again')
        told = undefined
        attempt = 0
        changed()
      },
      notified(payload: string) {
        if (matters(payload)) changed()
      },
      lost,
    }

    const connect = () => {
      try {
        cancel = openListener({ config, channel, clock, pingMs, timeoutMs }, handler)
      } catch (error) {
        // A certificate's file that has gone, or a `stream` of the application.
        lost(error as Error)
      }
    }

    connect()
    return () => {
      stopped = true
      cancel()
    }
  }
}

function check(channel: string): void {
  const bytes = Buffer.byteLength(channel)
  if (bytes === 0 || bytes > mostChannelBytes || channel.includes('\0'))
    throw new TypeError(
      `postgresSignal: a channel has 1 to ${mostChannelBytes} bytes, none of them 0: ${JSON.stringify(channel)}`,
    )
}
