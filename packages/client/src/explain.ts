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
  const why = ({ name, use, reason }: TransportVerdict) => {
    const failure = [...attempts].reverse().find((attempt) => attempt.transport === name && !attempt.ok)
    return `${name} ${use === 'possible' && failure ? `failed: ${failure.reason}` : `is ${use}: ${reason}`}`
  }
  const sentence =
    transport === undefined
      ? `${state}${last && !last.ok ? `: ${last.transport} failed, ${last.reason}` : ''}`
      : `${transport} for ${Math.round(upMs! / 1_000)} s, ${at === 0 ? 'the first choice' : `because ${transports.slice(0, at).map(why).join('; ')}`}`
  return { state, transport, upMs, transports, attempts, sentence }
}
