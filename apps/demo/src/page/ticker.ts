import type { Client } from '@everwire/client'
import { symbols, tickerChannel, type Tick } from '../shared.js'
import { byId, make, setText } from './dom.js'

const points = 40
const width = 120
const height = 32

/** The ticker: one live channel for each symbol. */
export function createTicker(client: Client): void {
  const body = byId('ticker')
  for (const { symbol, name } of symbols) {
    const [line, price, change] = [sparkline(), make('td', {}, '–'), make('td', {}, '–')]
    body.append(
      make(
        'tr',
        {},
        make('th', { scope: 'row', title: name }, symbol),
        make('td', {}, line.svg),
        price,
        change,
      ),
    )
    const channel = client.channel(tickerChannel(symbol))
    channel.on('tick', (data) => {
      const { price: now, open } = data as Tick
      const percent = (now / open - 1) * 100
      const trend = percent < 0 ? 'down' : 'up'
      setText(price, now.toFixed(2))
      setText(change, `${trend === 'up' ? '▲' : '▼'} ${Math.abs(percent).toFixed(2)} %`)
      change.dataset.trend = trend
      line.add(now)
    })
    // The client asks again by itself after whatever passes; a refusal would be a bug of this page.
    channel.subscribe().catch((error: unknown) => console.error(error))
  }
}

function sparkline(): { svg: SVGElement; add(value: number): void } {
  const namespace = 'http://www.w3.org/2000/svg'
  const svg = document.createElementNS(namespace, 'svg')
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`)
  svg.setAttribute('preserveAspectRatio', 'none')
  svg.setAttribute('aria-hidden', 'true')
  const line = document.createElementNS(namespace, 'polyline')
  line.setAttribute('vector-effect', 'non-scaling-stroke')
  svg.append(line)
  const values: number[] = []
  return {
    svg,
    add(value) {
      values.push(value)
      if (values.length > points) values.shift()
      const low = Math.min(...values)
      const range = Math.max(...values) - low || 1
      const place = (one: number, at: number) =>
        `${((at / Math.max(values.length - 1, 1)) * width).toFixed(1)},${(height - 3 - ((one - low) / range) * (height - 6)).toFixed(1)}`
      line.setAttribute('points', values.map(place).join(' '))
    },
  }
}
