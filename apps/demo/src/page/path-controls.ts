import { byId, setText, showProblem } from './dom.js'
import type { PathFaults } from '../path-faults.js'

export interface PathControls {
  /** What the path does to this visitor now, as the proxy says. */
  faults(): Promise<PathFaults>
  /** Changes some of it; resolves with all of it. */
  set(change: Partial<PathFaults>): Promise<PathFaults>
  /** Cuts this visitor's open connections once. */
  cut(): Promise<PathFaults>
  /** Lets everything through again. */
  restore(): Promise<PathFaults>
}

/** The buttons that break the path. They talk to the proxy alone: the client hears nothing of it. */
export function createPathControls(changed: (faults: PathFaults) => void): PathControls {
  const problem = byId('path-problem')
  const webSocket = byId<HTMLButtonElement>('block-websocket')
  const sse = byId<HTMLButtonElement>('block-sse')
  const cable = byId<HTMLButtonElement>('cut-cable')
  const restore = byId<HTMLButtonElement>('restore')
  let faults: PathFaults = { websocket: 'ok', sse: 'ok', cable: 'ok' }

  const show = (next: PathFaults) => {
    faults = next
    press(webSocket, next.websocket !== 'ok')
    press(sse, next.sse !== 'ok')
    press(cable, next.cable === 'cut')
    const broken = Object.values(next).some((fault) => fault !== 'ok')
    // A button that goes dead under the finger of a keyboard user loses the focus: it hands it on.
    if (!broken && document.activeElement === restore) webSocket.focus()
    restore.disabled = !broken
    changed(next)
    return next
  }
  const ask = async (route: string, body?: object): Promise<PathFaults> => {
    const response = await fetch(`/path/${route}`, {
      method: route === 'faults' && !body ? 'GET' : 'POST',
      ...(body ? { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) } : {}),
    })
    const answer = (await response.json()) as PathFaults & { error?: string }
    if (!response.ok) throw new Error(answer.error ?? `the proxy answered ${response.status}`)
    return show(answer)
  }
  const controls: PathControls = {
    faults: () => ask('faults'),
    set: (change) => ask('faults', change),
    cut: () => ask('cut', {}),
    restore: () => ask('faults', { websocket: 'ok', sse: 'ok', cable: 'ok' }),
  }
  const on = (button: HTMLButtonElement, act: () => Promise<PathFaults>) =>
    button.addEventListener('click', () => {
      act().then(
        () => showProblem(problem, undefined),
        (error: Error) => showProblem(problem, `The proxy did not do it: ${error.message}`),
      )
    })
  const toggled = (fault: string) => fault === 'ok'
  on(webSocket, () => controls.set({ websocket: toggled(faults.websocket) ? 'blocked' : 'ok' }))
  on(sse, () => controls.set({ sse: toggled(faults.sse) ? 'blocked' : 'ok' }))
  on(cable, () => controls.set({ cable: faults.cable === 'cut' ? 'ok' : 'cut' }))
  on(byId<HTMLButtonElement>('drop-once'), controls.cut)
  on(restore, controls.restore)
  controls.faults().catch((error: Error) => {
    showProblem(problem, `The proxy does not answer: ${error.message}`)
  })
  return controls
}

function press(button: HTMLButtonElement, pressed: boolean): void {
  button.setAttribute('aria-pressed', String(pressed))
  button.dataset.label ??= button.textContent?.trim()
  setText(button, button.dataset.label ?? '')
}
