import type { Clock } from '@everwire/core'
import type { Everwire } from '@everwire/server'
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

/** What the server itself says: prices, a numbered stream, and a word of welcome. Returns its own undo. */
export function startPublishers(
  everwire: Everwire,
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
    return everwire.publish(tickerChannel(one.symbol), 'tick', data)
  }
  const publisher = `${serverPublisher}.${everwire.nodeId}`
  let sequence = 0
  const number = () => {
    const data: NumberedMessage = { publisher, sequence: ++sequence }
    return everwire.publish(ledgerChannel, 'number', data)
  }
  const welcome: ChatMessage = {
    id: `welcome.${everwire.nodeId}`,
    name: 'Everwire',
    text: 'Welcome. Block WebSocket, then write something: it arrives all the same.',
    at: Date.now(),
    house: true,
  }
  everwire.publish(chatChannel, 'message', welcome).catch(failed)
  const stops = [every(clock, tickEveryMs, tick, failed), every(clock, numberEveryMs, number, failed)]
  return () => stops.forEach((stop) => stop())
}

function every(
  clock: Clock,
  ms: number,
  run: () => Promise<unknown>,
  failed: (error: unknown) => void,
): () => void {
  const turn = () => {
    run().catch(failed)
    cancel = clock.after(ms, turn)
  }
  let cancel = clock.after(ms, turn)
  return () => cancel()
}
