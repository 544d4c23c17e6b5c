import { transportNames } from '../../networks.js'
import { make, setText } from '../dom.js'
import { duration, transportName } from '../words.js'
import type { Try } from './tries.js'

/** Ends of the axis in milliseconds: it grows by steps, so that the bars do not creep. */
const axes = [500, 1_000, 2_000, 5_000, 10_000, 20_000, 30_000, 45_000, 60_000]

/** The tries of a visit as bars over time. What it shows is told by the table of tries too. */
export function createTimeline(): {
  element: HTMLElement
  render(tries: readonly Try[], atMs: number): void
} {
  const tracks = new Map<string, HTMLElement>()
  const bars = new Map<Try, readonly [trying: HTMLElement, carrying: HTMLElement]>()
  const axisEnd = make('span', {}, '')
  const element = make('div', { class: 'timeline', 'aria-hidden': 'true' })
  for (const name of transportNames) {
    const track = make('div', { class: 'track' })
    tracks.set(name, track)
    element.append(make('span', { class: 'track-name' }, transportName(name)), track)
  }
  element.append(make('div', { class: 'axis' }, make('span', {}, '0'), axisEnd))

  const barsOf = (one: Try) => {
    const known = bars.get(one)
    if (known) return known
    const pair = [make('i', { class: 'trying' }), make('i', { class: 'carrying' })] as const
    tracks.get(one.transport)?.append(...pair)
    bars.set(one, pair)
    return pair
  }
  return {
    element,
    render(tries, atMs) {
      const wholeMs = axes.find((ms) => ms >= atMs) ?? Math.ceil(atMs / 30_000) * 30_000
      setText(axisEnd, duration(wholeMs))
      for (const one of tries) {
        const [trying, carrying] = barsOf(one)
        const { startedMs, carriesMs, endedMs = atMs } = one
        place(trying, startedMs, carriesMs ?? endedMs, wholeMs)
        trying.dataset.failed = String(one.endedMs !== undefined && carriesMs === undefined)
        carrying.hidden = carriesMs === undefined
        if (carriesMs !== undefined) place(carrying, carriesMs, endedMs, wholeMs)
      }
    },
  }
}

function place({ style }: HTMLElement, fromMs: number, toMs: number, wholeMs: number): void {
  style.left = `${((fromMs / wholeMs) * 100).toFixed(2)}%`
  style.width = `${((Math.max(0, toMs - fromMs) / wholeMs) * 100).toFixed(2)}%`
}
