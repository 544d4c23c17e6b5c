import { counter } from '../../counter.js'
import { payloadOf } from '../../payload.js'
import type { Connection } from '../load.js'

/**
 * Publishes until every subscriber has all. Two bursts are under way: the server finds the next when it is done with
 * one, and nobody falls so far behind that a candidate would let go of him.
 */
export async function deliver(
  publisher: Connection,
  subscribers: readonly Connection[],
  publications: number,
  burst: number,
): Promise<void> {
  const { heard, all } = counter('publications', publications * subscribers.length)
  let published = 0
  const publish = () => {
    for (let n = 0; n < burst && published < publications; n++) publisher.publish(payloadOf(published++))
  }
  let left = burst * subscribers.length
  const onPublication = () => {
    heard()
    if (--left > 0) return
    left = burst * subscribers.length
    publish()
  }
  for (const subscriber of subscribers) subscriber.onPublication = onPublication
  publish()
  publish()
  await all
}
