import type { Network } from '../../networks.js'
import { duration, transportName } from '../words.js'
import type { Sight } from './visit.js'

const leastAccepted = 10

/** What is wrong with a visit that is over, in words; nothing where all is as expected. */
export function judge(network: Network, number: number, sight: Sight): string[] {
  const { expected, limitsMs, mostFalls = 0, mostSwitches = 1 } = network
  const { transport, firstMs, falls, moves, tries, ledger } = sight
  const limitMs = limitsMs[number - 1]!
  const [first] = tries
  const problems: (string | false)[] = [
    transport !== expected &&
      `${transportName(transport)} carried the session in the end, not ${transportName(expected)}.`,
    number === 2 &&
      (first?.transport !== expected || first.carriesMs === undefined) &&
      `The second visit did not begin with what had worked, but with ${transportName(first?.transport)}.`,
    firstMs === undefined
      ? 'No message came.'
      : firstMs > limitMs &&
        `The first message took ${duration(firstMs)}, more than the promised ${duration(limitMs)}.`,
    falls > mostFalls && `${falls} links were lost; ${mostFalls} would be normal here.`,
    moves > mostSwitches && `It moved ${moves} times between transports.`,
    ledger.lost > 0 && `${ledger.lost} messages were lost.`,
    ledger.doubled > 0 && `${ledger.doubled} messages came twice.`,
    ledger.misordered + ledger.phantoms > 0 && 'Messages came out of order.',
    ledger.gaps > 0 && `${ledger.gaps} gaps were told, though nothing is too old here.`,
    ledger.accepted < leastAccepted && 'So little was published that nothing was put to the test.',
  ]
  return problems.filter((problem) => problem !== false)
}
