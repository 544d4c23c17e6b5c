import type { Attempt, Client, EverwireError } from '@everwire/client'
import { byId, make } from './dom.js'
import { clockTime, duration, transportName } from './words.js'

/** One change of the connection. */
export interface Move {
  /** Transport before; null for the first connection. */
  from: string | null
  /** Transport now; the same one again where the link was renewed. */
  to: string
  /** Milliseconds since 1970. */
  at: number
  why: string
  /** How long there was no link; 0 when the new one was there before the old one went. */
  outageMs: number
}

interface Outage {
  since: number
  error: EverwireError | undefined
  /** The latest attempt before: usually the loss of the link itself. */
  last: Attempt | undefined
}

const mostMoves = 500
const mostShown = 50

/** Writes down every change of the connection, on the page too. */
export function trackMoves(client: Client): readonly Move[] {
  const moves: Move[] = []
  const log = byId('moves')
  let from: string | null = null
  let down: Outage | undefined

  const note = (move: Move) => {
    moves.push(move)
    if (moves.length > mostMoves) moves.shift()
    if (moves.length === 1) log.replaceChildren()
    log.prepend(item(move))
    while (log.childElementCount > mostShown) log.lastElementChild?.remove()
  }

  client.on('state', ({ state, transport, error }) => {
    const { attempts } = client.explain()
    if (state === 'reconnecting') down ??= { since: performance.now(), error, last: attempts.at(-1) }
    if (state !== 'connected' || transport === undefined) return
    const outageMs = down ? Math.round(performance.now() - down.since) : 0
    if (from === null) note({ from, to: transport, at: Date.now(), why: 'First connection', outageMs })
    else if (down) note({ from, to: transport, at: Date.now(), why: whyBack(down, attempts), outageMs })
    else if (transport !== from)
      note({ from, to: transport, at: Date.now(), why: `${transportName(transport)} works`, outageMs })
    from = transport
    down = undefined
  })
  return moves
}

const causes: Readonly<Record<string, string>> = {
  'link-lost': 'The link was lost',
  'heartbeat-timeout': 'The server went silent',
  'server-closing': 'The server is closing',
  'node-unavailable': 'The server that had the session is gone',
  'unknown-session': 'The session was lost',
}

const list = new Intl.ListFormat('en')

/** Why there was no link, and which transports failed before this one. */
function whyBack({ error, last }: Outage, attempts: readonly Attempt[]): string {
  const cause = causes[error?.code ?? 'link-lost'] ?? `The link ended (${error?.code})`
  const since = last ? attempts.slice(attempts.indexOf(last) + 1) : attempts
  const failed = new Set(since.filter(({ ok }) => !ok).map(({ transport }) => transportName(transport)))
  return failed.size === 0 ? cause : `${cause}; ${list.format(failed)} did not get through`
}

function item({ from, to, at, why, outageMs }: Move): HTMLElement {
  const way =
    from === null
      ? `Connected over ${transportName(to)}`
      : from === to
        ? `${transportName(to)} again`
        : `${transportName(from)} → ${transportName(to)}`
  const outage = from === null ? '' : outageMs === 0 ? 'no outage' : `${duration(outageMs)} out`
  return make(
    'li',
    {},
    make('span', { class: 'move-way' }, way),
    make('span', { class: 'move-outage', 'data-seamless': String(outageMs === 0) }, outage),
    make('span', { class: 'move-why' }, why),
    make('time', { datetime: new Date(at).toISOString() }, clockTime(at)),
  )
}
