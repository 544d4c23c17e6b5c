import type { Client } from '@everwire/client'
import type { PathFaults } from '../path-faults.js'
import { byId, setText } from './dom.js'
import { transportName } from './words.js'

/** The three wires: which one is live, which ones the path lets through; and the one line that says it aloud. */
export function createLadder(client: Client): { showFaults(faults: PathFaults): void } {
  const lanes = [...byId('lanes').querySelectorAll<HTMLElement>('.lane')]
  const status = byId('status')
  const [lead, statusText] = [byId('status-lead'), byId('status-text')]
  let faults: PathFaults | undefined

  const isBlocked = (transport: string) =>
    faults !== undefined &&
    Object.entries(faults).some(([name, fault]) =>
      name === 'cable' ? fault === 'cut' : fault !== 'ok' && name === transport,
    )

  const show = () => {
    const { state, transport } = client
    for (const lane of lanes) {
      const name = lane.dataset.transport!
      const active = name === transport && state === 'connected'
      const blocked = isBlocked(name)
      lane.dataset.active = String(active)
      lane.dataset.blocked = String(blocked)
      if (active) lane.setAttribute('aria-current', 'true')
      else lane.removeAttribute('aria-current')
      setText(
        lane.querySelector('.lane-state')!,
        active ? 'in use' : blocked ? (faults!.cable === 'cut' ? 'cut' : 'blocked') : 'open',
      )
    }
    status.dataset.state = state
    setText(lead, state === 'connected' ? 'Connected over ' : '')
    setText(statusText, sentences[state] ?? transportName(transport))
  }
  client.on('state', show)
  show()
  return {
    showFaults(next) {
      faults = next
      show()
    },
  }
}

const sentences: Readonly<Record<string, string>> = {
  idle: 'Not connected',
  connecting: 'Connecting',
  reconnecting: 'Reconnecting',
  closed: 'Closed',
}
