// node scripts/bench.mjs NAME [args]: runs apps/bench/src/NAME.ts from source, with real programs at hand.
import { existsSync } from 'node:fs'
import { Refusal, at, install, main, run } from './lib.mjs'
import { providePrograms } from './programs.mjs'

await main(async () => {
  const [name, ...args] = process.argv.slice(2)
  const file = `apps/bench/src/${name}.ts`
  if (!/^[a-z]+$/.test(name ?? '') || !existsSync(at(file)))
    throw new Refusal('Usage: node scripts/bench.mjs NAME [args]. NAME is bus.')
  await install()
  await providePrograms(['nats-server'])
  const source = ['--conditions=@everwire/source', '--import', 'tsx', file]
  const { code } = await run(process.execPath, [...source, ...args], { input: 'inherit' })
  return code
})
