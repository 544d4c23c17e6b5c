// node scripts/verify.mjs NAME [args]: runs apps/*/verify/NAME.ts from source, with real programs at hand.
import { existsSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { Refusal, at, findPackages, install, main, run } from './lib.mjs'
import { providePrograms, provideProgramsFor } from './programs.mjs'

await main(async () => {
  const [name, ...args] = process.argv.slice(2)
  const programs = findPackages()
    .map(({ folder }) => `${folder}/verify`)
    .filter((folder) => existsSync(at(folder)))
    .flatMap((folder) => readdirSync(at(folder)).map((file) => `${folder}/${file}`))
    .filter((file) => file.endsWith('.ts'))
  const program = programs.find((file) => path.basename(file, '.ts') === name)
  if (!program) {
    const known = programs.map((file) => path.basename(file, '.ts')).join(', ')
    throw new Refusal(`Usage: node scripts/verify.mjs NAME [args]. NAME is one of: ${known}`)
  }
  await install()
  await providePrograms()
  await provideProgramsFor(name)
  const source = ['--conditions=@everwire/source', '--import', 'tsx', program]
  const { code } = await run(process.execPath, [...source, ...args], { input: 'inherit' })
  return code
})
