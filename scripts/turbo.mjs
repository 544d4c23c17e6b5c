// node scripts/turbo.mjs TASK [args]: turbo on a machine without pnpm on PATH.
import { install, main, turbo } from './lib.mjs'

await main(async () => {
  await install()
  const { code } = await turbo(process.argv.slice(2))
  return code
})
