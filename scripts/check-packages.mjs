// npm run check:packages: packs every public package as it would be published, and lets publint and attw look at it.
// With paths of tarballs as arguments: looks at those only.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Refusal, findPackages, install, main, pnpm, run, say, turbo } from './lib.mjs'

const linters = [
  ['publint', ['node_modules/publint/src/cli.js', 'run', '--strict']],
  // Node 20.19 and newer can require() the modules of these packages: nothing is published for CommonJS.
  ['attw', ['node_modules/@arethetypeswrong/cli/dist/index.js', '--profile', 'esm-only', '--no-color']],
]

async function pack(folder) {
  const filters = findPackages()
    .filter(({ isPrivate }) => !isPrivate)
    .map(({ name }) => `--filter=${name}`)
  const steps = [
    () => turbo(['build', '--concurrency=2', '--output-logs=errors-only', ...filters], { quiet: true }),
    () => pnpm([...filters, 'pack', '--pack-destination', folder], { quiet: true }),
  ]
  for (const step of steps) {
    const { code, output } = await step()
    if (code !== 0) throw new Refusal(`${output}\nPacking failed.`)
  }
  const tarballs = readdirSync(folder).filter((file) => file.endsWith('.tgz'))
  if (tarballs.length !== filters.length)
    throw new Refusal(`Of ${filters.length} packages ${tarballs.length} were packed.`)
  return tarballs.map((file) => path.join(folder, file))
}

/** Says how many problems there are. */
async function check(tarball) {
  let problems = 0
  for (const [name, command] of linters) {
    const { code, output } = await run(process.execPath, [...command, tarball], { quiet: true })
    if (code === 0) continue
    problems++
    say(`${output}\n${path.basename(tarball)}: ${name} refuses it.`)
  }
  return problems
}

await main(async () => {
  await install()
  const given = process.argv.slice(2)
  const folder = mkdtempSync(path.join(tmpdir(), 'everwire-pack-'))
  try {
    const tarballs = given.length > 0 ? given : await pack(folder)
    const waiting = tarballs.map((tarball) => path.resolve(tarball))
    let problems = 0
    const work = async () => {
      for (let next = waiting.pop(); next; next = waiting.pop()) {
        const found = await check(next)
        problems += found
      }
    }
    await Promise.all([work(), work()])
    say(`${tarballs.length} packages checked, ${problems} problems`)
    return problems === 0 ? 0 : 1
  } finally {
    rmSync(folder, { recursive: true })
  }
})
