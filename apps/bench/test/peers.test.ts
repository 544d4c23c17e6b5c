import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const script = fileURLToPath(new URL('../src/peers.ts', import.meta.url))

t.test('measures four rows on Everwire and its peers', async (t) => {
  const child = spawn(
    process.execPath,
    ['--conditions=@everwire/source', '--import', 'tsx', script, '--brief'],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NODE_OPTIONS: '' },
    },
  )
  let [out, errors] = ['', '']
  child.stdout.on('data', (chunk) => (out += chunk))
  child.stderr.on('data', (chunk) => (errors += chunk))
  const [code] = (await once(child, 'close')) as [number]
  t.equal(code, 0, errors)
  t.match(out, /^npm run bench:peers -- --brief\n\d+ cores .*Node \d+/)
  const [head, , ...rows] = out
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .map((line) => line.split('|').map((cell) => cell.trim()))
  t.same(head, ['', '', 'ws', 'ratio', 'socket.io', 'ratio', 'Everwire', 'ratio', ''])
  for (const [, name = '', ...cells] of rows) {
    const figures = cells.slice(0, -1).map((cell) => Number(/^[\d,.]+/.exec(cell)?.[0].replaceAll(',', '')))
    t.equal(figures.length, 6, name)
    t.ok(
      figures.every((figure) => Number.isFinite(figure) && figure > 0),
      `${name}: ${figures.join(' ')}`,
    )
  }
  for (const row of ['fan-out', 'echo', 'idle', 'two nodes'])
    t.ok(
      rows.some(([, name]) => name!.startsWith(row)),
      row,
    )
  t.equal(rows.length, 14)
})
