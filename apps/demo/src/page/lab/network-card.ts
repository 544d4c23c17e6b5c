import type { Network } from '../../networks.js'
import { make, setText } from '../dom.js'
import { duration, transportName } from '../words.js'
import type { RunView } from './run.js'
import type { Sight } from './visit.js'
import { createVisitPanel, type VisitPanel } from './visit-panel.js'

export type CardState = 'new' | 'running' | 'good' | 'bad' | 'stopped'

export interface NetworkCard {
  readonly element: HTMLElement
  readonly button: HTMLButtonElement
  /** Of the run that goes on in this card. */
  readonly view: RunView
  /** Takes away what an earlier run left, and opens. */
  reset(): void
  fold(): void
  show(state: CardState): void
  /** Draws what is to be seen now. */
  render(): void
}

const words: Readonly<Record<CardState, string>> = {
  new: 'not run yet',
  running: 'running',
  good: 'as expected',
  bad: 'not as expected',
  stopped: 'stopped',
}

/** One network: what it does, what must win, and both visits once it runs. */
export function createNetworkCard(name: string, { title, does, expected }: Network): NetworkCard {
  const state = make('span', { class: 'lane-state' }, words.new)
  const button = make('button', { type: 'button', class: 'button', id: `run-${name}` }) as HTMLButtonElement
  button.append('Run', make('span', { class: 'quiet' }, ` ${title}`))
  const summary = make('summary', {}, 'Both visits')
  const visits = make('div', { class: 'visits' })
  const details = make('details', {}, summary, visits) as HTMLDetailsElement
  details.hidden = true
  const element = make(
    'li',
    { class: 'card network', id: name, 'data-state': 'new' },
    make(
      'div',
      { class: 'network-head' },
      make('div', {}, make('h2', {}, title, ' ', state), make('p', { class: 'note' }, sentenceOf(does))),
      make('p', { class: 'expected' }, 'Must win: ', make('strong', {}, transportName(expected))),
      button,
    ),
    details,
  )
  let panels: VisitPanel[] = []
  let results: string[] = []
  let live: (() => void) | undefined

  return {
    element,
    button,
    view: {
      visiting(number, phase, look) {
        live = () => panels[number - 1]!.render(look(), phase)
        live()
      },
      visited(number, sight, problems) {
        live = undefined
        panels[number - 1]!.finish(sight, problems)
        results.push(resultOf(number, sight))
        setText(summary, results.join(' '))
      },
    },
    reset() {
      panels = [1, 2].map(createVisitPanel)
      results = []
      visits.replaceChildren(...panels.map(({ element }) => element))
      setText(summary, 'Both visits')
      details.hidden = false
      details.open = true
    },
    fold() {
      details.open = false
    },
    show(to) {
      if (to !== 'running') live = undefined
      element.dataset.state = to
      setText(state, words[to])
    },
    render: () => live?.(),
  }
}

const sentenceOf = (words: string) => `${words.charAt(0).toUpperCase()}${words.slice(1)}.`

function resultOf(number: number, { transport, firstMs, ledger }: Sight): string {
  const when = firstMs === undefined ? 'no message' : `first message after ${duration(firstMs)}`
  const lost = ledger.lost + ledger.doubled === 0 ? '' : `, ${ledger.lost} lost, ${ledger.doubled} doubled`
  return `${number === 1 ? 'First' : 'Second'} visit: ${transportName(transport)}, ${when}${lost}.`
}
