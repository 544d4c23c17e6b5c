import { EverwireError, type Clock } from '@everwire/core'
import { headers, NoRespondersError, RequestError, TimeoutError } from '@nats-io/transport-node'
import type { Connection } from './connection.js'

const attemptMs = 1_000
const pauseMs = 50

/** A request that a stream refuses: no stream has this name, so that nothing is stored. */
export function elsewhere() {
  const expected = headers()
  expected.set('Nats-Expected-Stream', 'none')
  return expected
}

/**
 * Resolves once a stream answers on one of its subjects. nats-server before 2.9.16 shows a stream to everybody while one
 * request is still making it, and dies of a nil pointer when another reads a message of it then (`jsMsgGetRequest`;
 * nats-server e6447c9 ended that). It takes publications only when it is whole: so that is asked for first.
 * @throws EverwireError `temporary` when it does not answer in time
 */
export async function streamUp(
  connection: Connection,
  clock: Clock,
  subject: string,
  waitMs: number,
): Promise<void> {
  const deadline = clock.now() + waitMs
  for (;;) {
    try {
      await connection.nats.request(subject, '', { timeout: attemptMs, headers: elsewhere() })
      return
    } catch (error) {
      if (!isSilence(error)) throw error
      if (clock.now() >= deadline)
        throw new EverwireError('temporary', `no stream answers on ${subject}`, { cause: error })
      await connection.sleep(pauseMs)
    }
  }
}

const isSilence = (error: unknown) =>
  error instanceof TimeoutError ||
  error instanceof NoRespondersError ||
  (error instanceof RequestError && error.isNoResponders())
