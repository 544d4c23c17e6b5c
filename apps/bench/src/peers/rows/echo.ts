import { counter } from '../../counter.js'
import { payloadOf } from '../../payload.js'
import type { Results } from '../../table.js'
import type { Connection } from '../load.js'
import { measureRate, type Row } from './row.js'

/** Every talker has so many without an answer. */
async function talk(talkers: readonly Connection[], echoes: number, inFlight: number): Promise<void> {
  const { heard, all } = counter('echoes', echoes)
  let sent = 0
  for (const talker of talkers) {
    talker.onEcho = () => {
      heard()
      if (sent < echoes) talker.echo(payloadOf(sent++))
    }
  }
  for (let n = 0; n < inFlight; n++)
    for (const talker of talkers) if (sent < echoes) talker.echo(payloadOf(sent++))
  await all
}

/** Messages that are answered with what was in them: answers a second. */
export const echo: Row = {
  name: 'echo',
  nodes: 1,
  async measure(servers, load, { talkers: count, echoes }) {
    const talkers = await load.connect(servers[0]!.url, count)
    const results: Results = new Map()
    for (const inFlight of [1, 8]) {
      const { rate, cpu } = await measureRate(servers, echoes, () => talk(talkers, echoes, inFlight))
      results.set(`echo, ${inFlight} in flight`, rate)
      results.set(`echo, ${inFlight} in flight: CPU`, cpu)
    }
    return results
  },
}
