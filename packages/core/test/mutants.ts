import { readFile } from 'node:fs/promises'
import { compileFunction } from 'node:vm'
import ts from 'typescript'
import type { Core } from './session-model.js'

/** One place of the sources broken on purpose. */
export interface Mutation {
  file: (typeof broken)[number]
  from: string
  to: string
}

// In the order in which they import each other.
const broken = ['frame', 'outbox', 'session', 'owner-session', 'attach'] as const
const intact = ['bytes', 'errors', 'limits', 'version'] as const

/** Loads the session from its sources with mistakes in them. */
export async function loadMutant(mutations: readonly Mutation[]): Promise<Core> {
  const modules: Record<string, unknown> = {}
  for (const name of intact) modules[`./${name}.js`] = await import(`../src/${name}.js`)
  for (const file of broken) {
    let source = await readFile(new URL(`../src/${file}.ts`, import.meta.url), 'utf8')
    for (const { from, to } of mutations.filter((mutation) => mutation.file === file)) {
      if (source.split(from).length !== 2) throw new Error(`${file}.ts must have this exactly once: ${from}`)
      source = source.replace(from, () => to)
    }
    const { outputText } = ts.transpileModule(source, {
      compilerOptions: { module: ts.ModuleKind.CommonJS, target: ts.ScriptTarget.ES2022 },
    })
    const exported = {}
    compileFunction(outputText, ['exports', 'require'])(exported, (name: string) => modules[name])
    modules[`./${file}.js`] = exported
  }
  return Object.assign({}, ...broken.map((file) => modules[`./${file}.js`])) as Core
}
