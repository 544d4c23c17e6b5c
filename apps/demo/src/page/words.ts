import type { NodeState } from '../shared.js'

const names: Readonly<Record<string, string>> = {
  websocket: 'WebSocket',
  sse: 'SSE',
  'long-polling': 'Long polling',
}

/** A transport as people call it. */
export const transportName = (name: string | undefined): string =>
  name === undefined ? 'none' : (names[name] ?? name)

/** A sentence of the client, in which transports go by their wire names. */
export const withTransportNames = (sentence: string): string => {
  const text = sentence
    .replace(/\b(websocket|sse|long-polling)\b/g, (name) => transportName(name))
    // Codes are for programs.
    .replace(/EverwireError: |( \([a-z-]+\))+(?=;|$)/g, '')
  return text.charAt(0).toUpperCase() + text.slice(1)
}

const nodeStates: Readonly<Record<NodeState, string>> = {
  starting: 'starting',
  ready: 'ready',
  'cut-off': 'cut off',
  draining: 'draining',
  drained: 'drained',
  killed: 'killed',
  failed: 'ended by itself',
}
export const nodeStateName = (state: NodeState): string => nodeStates[state]

const grouped = new Intl.NumberFormat('en')
export const count = (value: number): string => grouped.format(value)
/** `1 session`, `2 sessions`. */
export const counted = (value: number, thing: string): string =>
  `${count(value)} ${thing}${value === 1 ? '' : 's'}`

/** A span of time as people say it. */
export function duration(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`
  if (ms < 10_000) return `${(ms / 1_000).toFixed(1)} s`
  const seconds = Math.round(ms / 1_000)
  if (seconds < 60) return `${seconds} s`
  const minutes = Math.floor(seconds / 60)
  return minutes < 60
    ? `${minutes} min ${seconds % 60} s`
    : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

const clockFormat = new Intl.DateTimeFormat('en', {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23',
})
const shortClockFormat = new Intl.DateTimeFormat('en', {
  hour: '2-digit',
  minute: '2-digit',
  hourCycle: 'h23',
})
export const clockTime = (at: number): string => clockFormat.format(at)
export const shortClockTime = (at: number): string => shortClockFormat.format(at)
