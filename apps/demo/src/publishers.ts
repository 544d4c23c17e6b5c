import type { Clock } from '@everwire/core'
import {
  chatChannel,
  ledgerChannel,
  serverPublisher,
  symbols,
  tickerChannel,
  type ChatMessage,
  type NumberedMessage,
  type Tick,
} from './shared.js'

const tickEveryMs = 200
const numberEveryMs = 100

/** Whoever publishes as the server. */
export interface Source {
  /** Tells its numbers from those of others. */
  name: string
  /** What is published again with the same id is there once. */
  publish(channel: string, event: string, data: unknown, options?: { id: string }): Promise<unknown>
}

/** What the server itself says: prices, a numbered stream, and a word of welcome. Returns its own undo. */
export function startPublishers(
  { name, publish }: Source,
  clock: Clock,
  failed: (error: unknown) => void,
): () => void {
  const prices = symbols.map(({ symbol, price }) => ({
    symbol,
    price: price as number,
    open: price as number,
  }))
  let turn = 0
  const tick = () => {
    const one = prices[turn++ % prices.length]!
    // A small random walk that is drawn back to where it began.
    one.price *= 1 + (Math.random() - 0.5) * 0.004 + (one.open / one.price - 1) * 0.01
    one.price = Math.round(one.price * 100) / 100
    const data: Tick = { price: one.price, open: one.open }
    return publish(tickerChannel(one.symbol), 'tick', data)
  }
  const publisher = `${serverPublisher}.${name}`
  let sequence = 0
  // Until it succeeds: a number that is left out would look like a loss.
  const number = async () => {
    const data: NumberedMessage = { publisher, sequence: sequence + 1 }
    await publish(ledgerChannel, 'number', data, { id: `${publisher}.${data.sequence}` })
    sequence++
  }
  const welcome: ChatMessage = {
    id: `welcome.${name}`,
    name: 'Everwire',
    text: 'Welcome. Block WebSocket, then write something: it arrives all the same.',
    at: Date.now(),
    house: true,
  }
  publish(chatChannel, 'message', welcome).catch(failed)
  const stops = [every(clock, tickEveryMs, tick, failed), every(clock, numberEveryMs, number, failed)]
  return () => stops.forEach((stop) => stop())
}

/** One at a time: what goes out together need not arrive in order. */
function every(
  clock: Clock,
  ms: number,
  run: () => Promise<unknown>,
  failed: (error: unknown) => void,
): () => void {
  let stopped = false
  let due = clock.now() + ms
  const turn = async () => {
    await run().catch(failed)
    // As often as was promised, whatever one takes; but not all that was missed at once.
    due = Math.max(due + ms, clock.now())
    if (!stopped) cancel = clock.after(due - clock.now(), turn)
  }
  let cancel = clock.after(ms, turn)
  return () => {
    stopped = true
    cancel()
  }
}
