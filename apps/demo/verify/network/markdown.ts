import type { Cost } from './costs.js'
import type { Row } from './judge.js'
import type { Scenario } from './scenario.js'

const table = (rows: readonly (readonly string[])[]): string =>
  rows
    .flatMap((row, i) => [row, ...(i === 0 ? [row.map(() => '---')] : [])])
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n')

/** What won where, and how long it took, as docs/transports.md has it. */
export function scenariosTable(scenarios: readonly Scenario[], rows: readonly Row[]): string {
  const of = (scenario: Scenario, visit: number) =>
    rows.filter((row) => row.scenario === scenario.name && row.visit === visit)
  const times = (found: readonly Row[]) =>
    found.map(({ client, firstMs }) => `${client} ${firstMs?.toFixed(0) ?? '–'}`).join(', ')
  return table([
    [
      'path',
      'what it does',
      'carried by',
      'first visit, ms',
      'second visit, ms',
      'links lost',
      'in its own words',
    ],
    ...scenarios
      .filter((scenario) => of(scenario, 1).length > 0)
      .map((scenario) => {
        const [first, second] = [of(scenario, 1), of(scenario, 2)]
        return [
          `\`${scenario.name}\``,
          scenario.does,
          [...new Set(first.map(({ winner }) => winner))].join(', '),
          times(first),
          times(second),
          first.map(({ falls }) => falls).join(', '),
          lasting(first[0]!.sentence),
        ]
      }),
  ])
}

/** Without the seconds of this one run. */
const lasting = (sentence: string) => sentence.replace(/ for \d+ s/, '').replaceAll(/; again in \d+ s/g, '')

export const costsTable = (costs: readonly Cost[]): string =>
  table([
    [
      'transport',
      'idle: requests a minute',
      'idle: bytes a minute',
      'bytes down for one of 100 bytes',
      'requests for 100 of those',
      'bytes up for one published',
      'requests for 100 of those',
    ],
    ...costs.map(({ transport, idle, down, up }) => [
      transport,
      String(idle.requests),
      `${idle.bytes}`,
      down.bytes.toFixed(0),
      String(down.requests),
      up.bytes.toFixed(0),
      String(up.requests),
    ]),
  ])
