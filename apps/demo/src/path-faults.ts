/** What the path does to the traffic of one visitor. */
export interface PathFaults {
  /**
   * `blocked`: upgrades are refused with 403 · `silent`: they are accepted, and nothing comes through · `killed`: they end
   * 200 ms after they opened.
   */
  websocket: 'ok' | 'blocked' | 'silent' | 'killed'
  /**
   * `blocked`: refused with 403 · `held`: the answer is held back until it ends, which a stream never does · `held-get`:
   * the same, where it is asked for by GET.
   */
  sse: 'ok' | 'blocked' | 'held' | 'held-get'
  /**
   * `cut`: every connection breaks, and new ones too · `idle`: what is silent for 5 s breaks · `slow`: every piece takes
   * 150 ms longer, both ways.
   */
  cable: 'ok' | 'cut' | 'idle' | 'slow'
}

export type FaultName = keyof PathFaults

export const noFaults: PathFaults = { websocket: 'ok', sse: 'ok', cable: 'ok' }

const values = {
  websocket: ['ok', 'blocked', 'silent', 'killed'],
  sse: ['ok', 'blocked', 'held', 'held-get'],
  cable: ['ok', 'cut', 'idle', 'slow'],
} as const satisfies { [Name in FaultName]: readonly PathFaults[Name][] }

/** What ends with a change of the faults: a firewall that changes its mind, and links that would stay slow for ever. */
export const endedBy = (before: PathFaults, after: PathFaults): FaultName[] =>
  (Object.keys(after) as FaultName[]).filter(
    (name) =>
      after[name] !== before[name] &&
      (after[name] !== 'ok' || before[name] === 'idle' || before[name] === 'slow'),
  )

/** @returns the faults that an untrusted body names, or one sentence that says what is wrong with it */
export function readFaults(body: unknown): Partial<PathFaults> | string {
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    return 'the body must be an object such as {"websocket":"blocked"}'
  const entries = Object.entries(body)
  if (entries.length === 0) return `name at least one of ${Object.keys(values).join(', ')}`
  for (const [name, value] of entries) {
    if (!Object.hasOwn(values, name))
      return `unknown fault ${JSON.stringify(name.slice(0, 40))}: known are ${Object.keys(values).join(', ')}`
    const known: readonly unknown[] = values[name as FaultName]
    if (!known.includes(value)) return `${name} must be one of ${known.join(', ')}`
  }
  return body as Partial<PathFaults>
}
