// The last step of the build: one file for a script tag, from what tsc has made of this package and of its siblings.
// With --source: from their sources. With --outfile FILE: to another place.
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { build } from 'esbuild'

const here = (name) => fileURLToPath(new URL(name, import.meta.url))
const { source, outfile } = parseArgs({
  options: { source: { type: 'boolean' }, outfile: { type: 'string', default: here('dist/polling.js') } },
}).values
const { version, license } = JSON.parse(readFileSync(here('package.json'), 'utf8'))

await build({
  entryPoints: [here(source ? 'src/browser.ts' : 'dist/browser.js')],
  outfile,
  bundle: true,
  minify: true,
  sourcemap: true,
  format: 'iife',
  target: 'es2022',
  conditions: source ? ['@everwire/source'] : [],
  banner: { js: `/*! @everwire/polling-bridge ${version} | ${license} */` },
  logLevel: 'warning',
})
