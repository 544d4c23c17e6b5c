// node scripts/verify.mjs NAME [args]: runs apps/demo/verify/NAME.ts from source, with real programs at hand.
import { existsSync, readdirSync } from 'node:fs'
import { Refusal, at, install, main, run } from './lib.mjs'
import { providePrograms, provideProgramsFor } from './programs.mjs'

await main(async () => {
  const [name, ...args] = process.argv.slice(2)
  const folder = at('apps/demo/verify')
  const names = existsSync(folder) ? readdirSync(folder).filter((file) => file.endsWith('.ts')) : []
  if (!names.includes(`${name}.ts`)) {
    const known = names.map((file) => file.replace(/\.ts$/, '')).join(', ') || 'none yet'
    throw new Refusal(`Usage: node scripts/verify.mjs NAME [args]. NAME is one of: ${known}`)
  }
  await install()
  await providePrograms()
  await provideProgramsFor(name)
  const source = ['--conditions=@everwire/source', '--import', 'tsx', `apps/demo/verify/${name}.ts`]
  const { code } = await run(process.execPath, [...source, ...args], { input: 'inherit' })
  return code
})
