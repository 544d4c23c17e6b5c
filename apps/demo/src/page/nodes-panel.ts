import type { Client } from '@everwire/client'
import type { NodeAction, NodesStatus, NodeStatus } from '../shared.js'
import { byId, make, setText, showProblem } from './dom.js'
import type { Facts } from './facts.js'
import { counted, nodeStateName } from './words.js'

/** All answer with how the nodes are then; none are told where the demo is one process. */
export interface NodeControls {
  status(): Promise<NodesStatus>
  /** Ends a node at once. */
  kill(place: number): Promise<NodesStatus>
  /** Begins to end a node that hands its sessions over first. */
  drain(place: number): Promise<NodesStatus>
  /** Begins to start a node where one has ended. */
  start(place: number): Promise<NodesStatus>
}

const askEveryMs = 1_000

/** The server processes behind the proxy, and the buttons that end and start them; nothing where there is only one. */
export function createNodesPanel(client: Client, facts: Pick<Facts, 'node' | 'refresh'>): NodeControls {
  const problem = byId('nodes-problem')
  const totals = byId('nodes-totals')
  const rows = new Map<number, Row>()

  const show = (status: NodesStatus) => {
    if (status.nodes.length === 0) return status
    const serving = client.state === 'connected' ? facts.node() : undefined
    for (const node of status.nodes) {
      let row = rows.get(node.place)
      if (!row) {
        row = createRow(node.place, press)
        rows.set(node.place, row)
        byId('node-list').append(row.element)
      }
      row.show(node, node.id !== '' && node.id === serving)
    }
    const { handedOver, relayed, recovered } = status.totals
    setText(
      totals,
      `So far: ${counted(handedOver, 'session')} handed over, ${counted(relayed, 'request')} passed on to the node ` +
        `that has their session, ${counted(recovered, 'channel')} caught up from history.`,
    )
    return status
  }
  const ask = async (route = '', options: RequestInit = {}): Promise<NodesStatus> => {
    const response = await fetch(`/nodes${route}`, options)
    const answer = (await response.json()) as NodesStatus & { error?: string }
    if (!response.ok) throw new Error(answer.error ?? `the demo answered ${response.status}`)
    return show(answer)
  }
  const act = (place: number, action: NodeAction) => ask(`/${place}/${action}`, { method: 'POST' })
  const press = (place: number, action: NodeAction) => {
    act(place, action).then(
      () => showProblem(problem, undefined),
      (error: Error) => showProblem(problem, `That was not done: ${error.message}.`),
    )
  }

  const begin = async () => {
    const { nodes } = await ask()
    if (nodes.length === 0) return
    byId('nodes').hidden = false
    byId('main').dataset.several = 'true'
    setText(byId('far-end'), 'Nodes')
    setInterval(() => {
      if (document.hidden) return
      facts.refresh()
      ask().catch((error: Error) => showProblem(problem, `The demo does not answer: ${error.message}`))
    }, askEveryMs)
  }
  begin().catch((error: Error) => console.error(error))

  return {
    status: () => ask(),
    kill: (place) => act(place, 'kill'),
    drain: (place) => act(place, 'drain'),
    start: (place) => act(place, 'start'),
  }
}

interface Row {
  element: HTMLElement
  show(node: NodeStatus, isServing: boolean): void
}

const ends: readonly string[] = ['drained', 'killed', 'failed']

function createRow(place: number, press: (place: number, action: NodeAction) => void): Row {
  const state = make('span', { class: 'lane-state' })
  const id = make('span', { class: 'node-id' })
  const sessions = make('span')
  const serving = make('p', { class: 'node-serving' })
  const button = (action: NodeAction, text: string) => {
    const element = make(
      'button',
      { type: 'button', class: 'button', id: `${action}-${place}`, 'aria-label': `${text} node ${place}` },
      text,
    ) as HTMLButtonElement
    element.addEventListener('click', () => press(place, action))
    return element
  }
  const [drain, kill, start] = [button('drain', 'Drain'), button('kill', 'Kill'), button('start', 'Start')]
  kill.classList.add('danger')
  const element = make(
    'li',
    { class: 'node' },
    make('h3', {}, `Node ${place} `, state),
    make('p', { class: 'node-what' }, id, sessions),
    serving,
    make('div', { class: 'node-actions' }, drain, kill, start),
  )

  return {
    element,
    show(node, isServing) {
      const hasEnded = ends.includes(node.state)
      element.dataset.state = node.state
      element.dataset.serving = String(isServing)
      setText(state, nodeStateName(node.state))
      setText(id, node.id === '' ? 'no name yet' : node.id)
      setText(sessions, hasEnded ? 'gone' : counted(node.sessions, 'session'))
      setText(serving, isServing ? 'Has the session of this page' : '')
      drain.disabled = node.state !== 'ready'
      // A button that goes away under the finger of a keyboard user hands the focus on.
      const focused = document.activeElement
      drain.hidden = kill.hidden = hasEnded
      start.hidden = !hasEnded
      if (hasEnded && (focused === kill || focused === drain)) start.focus()
      else if (!hasEnded && focused === start) kill.focus()
      else if (drain.disabled && focused === drain) kill.focus()
    },
  }
}
