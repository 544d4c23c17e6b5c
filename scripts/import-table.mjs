// Who may import what, as an ESLint rule. The table is the one in docs and design: change both together.
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { at, root } from './lib.mjs'

const core = /^@everwire\/core(\/limits)?$/
const node = /^node:/
const publicOnly = { allow: [/./], refuse: [/^@everwire\/testkit$/] }

/**
 * For each place, first match wins. `allow` and `refuse` speak of bare imports; `types` may be imported as types only;
 * `drivers` allows what the package itself depends on. Relative imports stay inside the package, and the two halves
 * of a transport, or of the bridge, do not see each other.
 */
const table = [
  { where: /^packages\/[^/]+\/test\//, allow: [/./] },
  { where: /^packages\/core\//, allow: [] },
  {
    where: /^packages\/server\//,
    allow: [core, node, /^fastify$/, /^fastify-plugin$/, /^@fastify\/(cors|rate-limit)$/, /^prom-client$/],
  },
  { where: /^packages\/client\//, allow: [core] },
  {
    where: /^packages\/transport-[^/]+\/src\/server(\.ts$|\/)/,
    allow: [core, node, /^@fastify\/websocket$/],
    types: [/^fastify$/, /^ws$/],
    otherHalf: /^packages\/transport-[^/]+\/src\/client(\.|\/|$)/,
  },
  {
    where: /^packages\/transport-[^/]+\/src\//,
    allow: [core],
    otherHalf: /^packages\/transport-[^/]+\/src\/server(\.|\/|$)/,
  },
  { where: /^packages\/(bus|presence)-[^/]+\//, allow: [core, node], drivers: true },
  { where: /^packages\/testkit\//, allow: [core, node, /^fast-check$/, /^playwright-core$/] },
  // For one framework each: its binding loads no other.
  { where: /^packages\/react\//, allow: [/^@everwire\/client(\/|$)/, /^react$/] },
  { where: /^packages\/vue\//, allow: [/^@everwire\/client(\/|$)/, /^vue$/] },
  { where: /^packages\/svelte\//, allow: [/^@everwire\/client(\/|$)/] },
  {
    // What a page loads: nothing of Node, and not what the server half is made of.
    where: /^packages\/polling-bridge\/src\/(client|browser)(\.ts$|\/)/,
    allow: [core, /^everwire\/client$/],
    types: [/^@everwire\/client$/],
    otherHalf: /^packages\/polling-bridge\/src\/(server|postgres)(\.|\/|$)/,
  },
  { where: /^packages\//, ...publicOnly },
  { where: /^apps\//, allow: [/./] },
]

const posix = (file) => file.split(path.sep).join('/')
const matches = (patterns, name) => patterns?.some((pattern) => pattern.test(name)) ?? false
const manifestOf = (folder) => {
  const file = at(folder, 'package.json')
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {}
}

/** Says what is wrong with an import, or nothing. `file` is relative to the root. */
function problem(file, name, isType) {
  const row = table.find(({ where }) => where.test(file))
  if (!row) return
  const home = file.split('/').slice(0, 2).join('/')
  if (name.startsWith('.')) {
    const target = path.posix.join(path.posix.dirname(file), name)
    // Core cannot depend on the testkit, which depends on it; its tests take what they need by path.
    const testOfCore = file.startsWith('packages/core/test/') && target.startsWith('packages/testkit/src/')
    if (!target.startsWith(`${home}/`) && !testOfCore)
      return 'A relative import stays inside its package: import the package by name.'
    if (matches([row.otherHalf ?? /$^/], target))
      return 'The two halves do not import each other: move what both need into a file of its own.'
    return
  }
  const own = /^(@everwire\/([^/]+))\/(.+)$/.exec(name)
  if (own && !Object.hasOwn(manifestOf(`packages/${own[2]}`).exports ?? {}, `./${own[3]}`))
    return `"${name}" is not a public export: import from ${own[1]}.`
  if (matches(row.refuse, name)) return `${home}/src must not import ${name}: it is for tests and apps.`
  if (matches(row.allow, name)) return
  if (matches(row.types, name))
    return isType ? undefined : `${home} may import only types from "${name}": write import type.`
  if (row.drivers && !name.startsWith('@everwire/') && isDependency(home, name)) return
  return `${home} must not import "${name}": see the table in scripts/import-table.mjs.`
}

const isDependency = (home, name) =>
  Object.keys(manifestOf(home).dependencies ?? {}).some(
    (known) => name === known || name.startsWith(`${known}/`),
  )

export const importTable = {
  meta: { type: 'problem', schema: [] },
  create(context) {
    const file = posix(path.relative(root, context.filename))
    const check = (source, isType = false) => {
      if (typeof source?.value !== 'string') return
      const message = problem(file, source.value, isType)
      if (message) context.report({ node: source, message })
    }
    return {
      ImportDeclaration: (node) => check(node.source, node.importKind === 'type'),
      ExportNamedDeclaration: (node) => check(node.source, node.exportKind === 'type'),
      ExportAllDeclaration: (node) => check(node.source, node.exportKind === 'type'),
      ImportExpression: (node) => check(node.source),
      TSImportType: (node) => check(node.source ?? node.argument?.literal, true),
    }
  },
}
