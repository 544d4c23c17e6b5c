import type { Attempt, ConnectionState, Explanation, TransportVerdict } from './carrier.js'

/** Which transport, since when, and why not a better one; as data and as a sentence. */
export function explain(
  state: ConnectionState,
  upMs: number | undefined,
  transports: readonly TransportVerdict[],
  attempts: readonly Attempt[],
): Explanation {
  const at = transports.findIndex(({ use }) => use === 'used')
  const transport = transports[at]?.name
  const last = attempts.at(-1)
  const better = transports.slice(0, at).map(({ name, use, reason }) => `${name} is ${use}: ${reason}`)
  const sentence = transport
    ? `${transport} for ${Math.round(upMs! / 1_000)} s, ${at ? `because ${better.join('; ')}` : 'the first choice'}`
    : `${state}${last && !last.ok ? `: ${last.transport} failed, ${last.reason}` : ''}`
  return { state, transport, upMs, transports, attempts, sentence }
}
