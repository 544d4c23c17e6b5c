// node scripts/bench.mjs NAME [args]: runs apps/bench/src/NAME.ts on packages as they are published, with real programs
// at hand.
import { Refusal, install, main, run, turbo } from './lib.mjs'
import { providePrograms } from './programs.mjs'

const programs = {
  bus: ['nats-server'],
  peers: ['nats-server', 'redis-server'],
}

await main(async () => {
  const [name, ...args] = process.argv.slice(2)
  if (!Object.hasOwn(programs, name ?? ''))
    throw new Refusal(
      `Usage: node scripts/bench.mjs NAME [args]. NAME is ${Object.keys(programs).join(' or ')}.`,
    )
  await install()
  await providePrograms(programs[name])
  // Not from source: the loader wraps functions that are made in the hot path, which peers do not pay for.
  const build = await turbo(['build', '--filter=@everwire/bench^...'], { quiet: true })
  if (build.code !== 0) throw new Refusal(`${build.output}\nBuilding the packages failed.`)
  const { code } = await run(process.execPath, ['--import', 'tsx', `apps/bench/src/${name}.ts`, ...args], {
    input: 'inherit',
  })
  return code
})
