import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import t from 'tap'
import { at, run } from '../lib.mjs'

/** A tarball of a package with one module; `files` changes it. */
function pack(t, files = {}) {
  const folder = mkdtempSync(path.join(tmpdir(), 'everwire-probe-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const manifest = {
    name: 'probe',
    version: '1.0.0',
    type: 'module',
    license: 'MIT',
    files: ['dist'],
    exports: { '.': { types: './dist/index.d.ts', default: './dist/index.js' } },
  }
  const all = {
    'package.json': JSON.stringify(manifest),
    'dist/index.js': 'export const one = 1\n',
    'dist/index.d.ts': 'export declare const one: 1\n',
    ...files,
  }
  mkdirSync(path.join(folder, 'dist'))
  for (const [name, text] of Object.entries(all))
    if (text !== undefined) writeFileSync(path.join(folder, name), text)
  execFileSync('npm', ['pack', '--silent'], {
    cwd: folder,
    stdio: 'ignore',
    shell: process.platform === 'win32',
  })
  return path.join(folder, 'probe-1.0.0.tgz')
}

const check = (tarball) => run(process.execPath, [at('scripts/check-packages.mjs'), tarball], { quiet: true })

t.test('a package that is whole passes', async (t) => {
  const { code, output } = await check(pack(t))
  t.match(output, '1 packages checked, 0 problems')
  t.equal(code, 0)
})

t.test('publint refuses a package without the file that it exports', async (t) => {
  const { code, output } = await check(pack(t, { 'dist/index.js': undefined }))
  t.match(output, 'probe-1.0.0.tgz: publint refuses it.')
  t.equal(code, 1)
})

t.test('attw refuses a package whose types are not all there', async (t) => {
  const { code, output } = await check(pack(t, { 'dist/index.d.ts': "export * from './lost.js'\n" }))
  t.match(output, 'probe-1.0.0.tgz: attw refuses it.')
  t.match(output, '1 packages checked, 1 problems')
  t.equal(code, 1)
})
