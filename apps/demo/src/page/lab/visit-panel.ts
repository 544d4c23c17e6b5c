import type { TransportVerdict } from '@everwire/client'
import { make, setText } from '../dom.js'
import { count, duration, transportName, withTransportNames } from '../words.js'
import { createTable } from './table.js'
import { createTimeline } from './timeline.js'
import type { Try } from './tries.js'
import type { Sight } from './visit.js'

export interface VisitPanel {
  readonly element: HTMLElement
  render(sight: Sight, phase: string): void
  /** The visit is over. */
  finish(sight: Sight, problems: readonly string[]): void
}

const titles = ['First visit', 'Second visit']

/** One visit: what is tried now, the tries over time, the figures, and the client's own words. */
export function createVisitPanel(number: number): VisitPanel {
  const now = make('p', { class: 'visit-now' }, 'not yet')
  const timeline = createTimeline()
  const figures = createFigures()
  const tries = createTable('What was tried', ['Transport', 'When', 'What became of it'])
  const sentence = make('p', { class: 'sentence' })
  const transports = createTable('What the client thinks of each', ['Transport', 'Is', 'Why'])
  const problems = make('ul', { class: 'problem' })
  problems.hidden = true
  const body = make(
    'div',
    { class: 'visit-body' },
    timeline.element,
    figures.element,
    tries.element,
    make('p', { class: 'fine' }, 'In the client’s own words:'),
    sentence,
    transports.element,
  )
  body.hidden = true
  const element = make(
    'section',
    { class: 'visit', 'data-visit': String(number) },
    make('h3', {}, titles[number - 1]!),
    now,
    problems,
    body,
  )

  const render = (sight: Sight) => {
    body.hidden = false
    timeline.render(sight.tries, sight.atMs)
    figures.render(sight)
    tries.render(sight.tries.map(tryRow))
    setText(sentence, withTransportNames(sight.explanation.sentence))
    transports.render(sight.explanation.transports.map(verdictRow))
  }
  return {
    element,
    render(sight, phase) {
      render(sight)
      setText(now, `${doing(sight)} · ${phase}`)
    },
    finish(sight, found) {
      render(sight)
      const winner = sight.transport === undefined ? 'Nothing' : transportName(sight.transport)
      setText(now, `${winner} carried it in the end`)
      now.dataset.ok = String(found.length === 0)
      problems.hidden = found.length === 0
      problems.replaceChildren(...found.map((problem) => make('li', {}, problem)))
    },
  }
}

/** What the client is about at this moment. */
function doing({ tries, transport }: Sight): string {
  const trying = tries.filter((one) => one.endedMs === undefined && one.carriesMs === undefined)
  if (trying.length > 0) return `Trying ${trying.map((one) => transportName(one.transport)).join(' and ')}`
  return transport === undefined ? 'Waiting before the next try' : `On ${transportName(transport)}`
}

const inMs = (ms: number | undefined) => (ms === undefined ? '–' : `${count(Math.round(ms))} ms`)

const tryRow = ({ transport, startedMs, carriesMs, endedMs, why }: Try): string[] => [
  transportName(transport),
  endedMs === undefined ? `from ${inMs(startedMs)}` : `${count(Math.round(startedMs))} – ${inMs(endedMs)}`,
  carriesMs === undefined
    ? (why ?? 'asking')
    : `carried from ${inMs(carriesMs)}${why === undefined ? '' : `; ${why}`}`,
]

const uses: Readonly<Record<TransportVerdict['use'], string>> = {
  used: 'in use',
  possible: 'possible',
  refused: 'refused',
  unsupported: 'not supported',
  'set-back': 'set back',
}
const verdictRow = ({ name, use, reason }: TransportVerdict): string[] => [
  transportName(name),
  uses[use],
  reason,
]

const figureNames = {
  winner: 'Winner',
  connected: 'Connected after',
  first: 'First message after',
  falls: 'Links lost',
  lost: 'Lost',
  doubled: 'Doubled',
} as const

function createFigures() {
  const cells = new Map<string, HTMLElement>()
  const element = make('dl', { class: 'figures' })
  for (const [name, label] of Object.entries(figureNames)) {
    const value = make('dd', { 'data-figure': name }, '–')
    cells.set(name, value)
    element.append(make('div', {}, make('dt', {}, label), value))
  }
  const note = make('dd', { 'data-figure': 'traffic' }, '–')
  element.append(make('div', { class: 'wide' }, make('dt', {}, 'Messages'), note))
  return {
    element,
    render({ transport, connectedMs, firstMs, falls, early, ledger }: Sight) {
      const values: Record<keyof typeof figureNames, string> = {
        winner: transport === undefined ? '–' : transportName(transport),
        connected: connectedMs === undefined ? '–' : duration(connectedMs),
        first: firstMs === undefined ? '–' : duration(firstMs),
        falls: count(falls),
        lost: count(ledger.lost),
        doubled: count(ledger.doubled),
      }
      for (const [name, value] of Object.entries(values)) setText(cells.get(name)!, value)
      for (const name of ['lost', 'doubled'] as const)
        cells.get(name)!.parentElement!.dataset.ok = String(ledger[name] === 0)
      setText(
        note,
        `${count(ledger.published)} published, ${count(early)} of them before the subscription stood; ${count(ledger.received)} arrived`,
      )
    },
  }
}
