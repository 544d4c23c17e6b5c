import { networks, type NetworkName } from '../../networks.js'
import { noFaults, type PathFaults } from '../../path-faults.js'
import { byId, setText, showProblem } from '../dom.js'
import { createNetworkCard, type NetworkCard } from './network-card.js'
import { runNetwork } from './run.js'

const renderEveryMs = 100

const names = Object.keys(networks) as NetworkName[]
const cards = new Map<NetworkName, NetworkCard>()
const all = byId<HTMLButtonElement>('run-all')
const [status, statusText] = [byId('status'), byId('status-text')]
const problem = byId('lab-problem')

async function setFaults(change: Partial<PathFaults>): Promise<void> {
  const response = await fetch('/path/faults', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(change),
    // It must get out though the page is left.
    keepalive: true,
  })
  const { error } = (await response.json()) as { error?: string }
  if (!response.ok) throw new Error(error ?? `the proxy answered ${response.status}`)
}

/** Stops the run that goes on; missing while there is none. */
let stop: (() => void) | undefined
let isLeft = false

function tell(state: string, text: string): void {
  status.dataset.state = state
  setText(statusText, text)
}

async function run(chosen: readonly NetworkName[], button: HTMLButtonElement): Promise<void> {
  const controller = new AbortController()
  const { signal } = controller
  stop = () => controller.abort()
  const buttons = [all, ...[...cards.values()].map((card) => card.button)]
  for (const other of buttons) other.disabled = other !== button
  const undoStop = becomeStop(button)
  showProblem(problem, undefined)
  let good = 0
  try {
    for (const [i, name] of chosen.entries()) {
      const card = cards.get(name)!
      const isFollowed = i > 0 && isInView(cards.get(chosen[i - 1]!)!.element)
      for (const other of cards.values()) if (other !== card) other.fold()
      card.reset()
      if (isFollowed) card.element.scrollIntoView({ block: 'start', behavior: scrolling() })
      card.show('running')
      card.button.disabled = false
      const undoCardStop = card.button === button ? undefined : becomeStop(card.button)
      tell(
        'connecting',
        `Running ${chosen.length > 1 ? `${i + 1} of ${chosen.length}: ` : ''}${networks[name].title}`,
      )
      const timer = setInterval(card.render, renderEveryMs)
      try {
        const isGood = await runNetwork(networks[name], { view: card.view, setFaults, signal })
        if (isGood) good++
        card.show(isGood ? 'good' : 'bad')
      } catch (error) {
        card.show('stopped')
        throw error
      } finally {
        clearInterval(timer)
        undoCardStop?.()
        card.button.disabled = card.button !== button
      }
    }
    const bad = chosen.length - good
    if (bad > 0) tell('closed', `${bad} of ${chosen.length} not as expected`)
    else tell('connected', chosen.length > 1 ? `All ${good} as expected` : 'As expected')
  } catch (error) {
    tell('idle', 'Stopped')
    if (!signal.aborted) showProblem(problem, `The lab could not go on: ${(error as Error).message}`)
  } finally {
    // Whoever left has let everything through already.
    if (!isLeft)
      await setFaults(noFaults).catch((error: Error) =>
        showProblem(problem, `The path could not be repaired: ${error.message}. Do it on the main page.`),
      )
    stop = undefined
    undoStop()
    for (const other of buttons) other.disabled = false
  }
}

/** The same button stops what it started, so that the focus stays. Returns its own undo. */
function becomeStop(button: HTMLButtonElement): () => void {
  const label = [...button.childNodes]
  button.replaceChildren('Stop')
  return () => button.replaceChildren(...label)
}

/** Whoever looks at a card is taken along to the next. */
function isInView(element: Element): boolean {
  const { top, bottom } = element.getBoundingClientRect()
  return bottom > 0 && top < innerHeight
}

const scrolling = (): ScrollBehavior =>
  matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth'

for (const name of names) {
  const card = createNetworkCard(name, networks[name])
  cards.set(name, card)
  byId('networks').append(card.element)
  card.button.addEventListener('click', () => (stop ? stop() : void run([name], card.button)))
}
all.addEventListener('click', () => (stop ? stop() : void run(names, all)))

addEventListener('pagehide', () => {
  if (!stop) return
  isLeft = true
  stop()
  setFaults(noFaults).catch(() => {})
})
addEventListener('pageshow', () => (isLeft = false))
