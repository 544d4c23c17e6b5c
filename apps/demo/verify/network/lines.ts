import { isGood, type Row } from './judge.js'

/** One visit in one line. */
export function formatRow(row: Row): string {
  const { scenario, client, visit, expected, winner, connectedMs, firstMs } = row
  const { attempts, failed, falls, switches, lost, doubled } = row
  return [
    scenario.padEnd(17),
    client.padEnd(8),
    `visit ${visit}`,
    `expected ${expected.padEnd(12)}`,
    `winner ${winner.padEnd(12)}`,
    `connected ${inMs(connectedMs)}`,
    `first message ${inMs(firstMs)}`,
    `attempts ${attempts} (${failed} failed)`,
    `falls ${falls} switches ${switches}`,
    `lost ${lost} doubled ${doubled}`,
    isGood(row) ? 'ok' : 'FAILED',
  ].join('  ')
}

const inMs = (ms: number | undefined) => (ms === undefined ? 'never' : `${ms.toFixed(0)} ms`).padStart(8)

/** The last line of a run. */
export function formatTotal(rows: readonly Row[]): string {
  const sum = (value: (row: Row) => number) => rows.reduce((total, row) => total + value(row), 0)
  return [
    `lost ${sum(({ lost }) => lost)} doubled ${sum(({ doubled }) => doubled)}`,
    `wrong-winner ${sum(({ isWrongWinner }) => Number(isWrongWinner))}`,
    `slow ${sum(({ isSlow }) => Number(isSlow))}`,
    `scenarios ${new Set(rows.map(({ scenario }) => scenario)).size}`,
  ].join(' ')
}
