// npm run migration -- --step N: a step of the app that migrates from polling, on a machine that has only Node and npm.
import { endWithParent, install, main, run } from './lib.mjs'
import { providePrograms } from './programs.mjs'

await main(async () => {
  endWithParent()
  const args = process.argv.slice(2)
  if (args.includes('3-postgres') && !process.env.DATABASE_URL) await providePrograms(['postgres'])
  await install()
  const source = ['--conditions=@everwire/source', '--import', 'tsx', 'apps/polling-migration/src/main.ts']
  const { code } = await run(process.execPath, [...source, ...args], { input: 'inherit' })
  return code
})
