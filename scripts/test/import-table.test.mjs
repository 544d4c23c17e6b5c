import { ESLint } from 'eslint'
import t from 'tap'
import { root } from '../lib.mjs'

const eslint = new ESLint({ cwd: root })

/** The rules of ours that a line of code breaks when it stands in `file`. */
async function broken(file, code) {
  const [result] = await eslint.lintText(`${code}\n`, { filePath: `${root}/${file}` })
  const ours = /import-table|no-restricted|no-explicit-any/
  return result.messages
    .filter((found) => found.fatal || ours.test(found.ruleId))
    .map((found) => found.ruleId)
}

const use = (name) => `import { x } from '${name}'\nx()`
const useType = (name) => `import type { X } from '${name}'\nexport type Y = X`

const refused = [
  ['packages/core/src/probe.ts', use('node:crypto')],
  ['packages/core/src/probe.ts', use('fast-check')],
  ['packages/core/src/probe.ts', use('@everwire/server')],
  ['packages/core/src/probe.ts', use('../../server/src/index.js')],
  ['packages/core/src/deep/probe.ts', "export const x = () => import('ws')"],
  ['packages/core/src/probe.ts', "export * from 'node:fs'"],
  ['packages/core/src/probe.ts', "export type X = import('node:http').Server"],
  ['packages/server/src/probe.ts', use('@everwire/client')],
  ['packages/server/src/probe.ts', use('@everwire/testkit')],
  ['packages/server/src/probe.ts', use('@everwire/transport-sse/server')],
  ['packages/server/src/probe.ts', use('ioredis')],
  ['packages/server/src/probe.ts', use('@everwire/core/src/frame.js')],
  ['packages/server/src/probe.ts', use('@everwire/core/dist/frame.js')],
  ['packages/client/src/probe.ts', use('node:events')],
  ['packages/client/src/probe.ts', use('@everwire/transport-sse/client')],
  ['packages/client/src/probe.ts', use('fastify')],
  ['packages/transport-sse/src/client.ts', use('node:http')],
  ['packages/transport-sse/src/client.ts', use('./server.js')],
  ['packages/transport-sse/src/client/probe.ts', use('../server/stream.js')],
  ['packages/transport-sse/src/client.ts', use('@fastify/websocket')],
  ['packages/transport-sse/src/shared.ts', use('node:http')],
  ['packages/transport-sse/src/shared.ts', use('./server.js')],
  ['packages/transport-websocket/src/server.ts', use('./client.js')],
  ['packages/transport-websocket/src/server.ts', use('fastify')],
  ['packages/transport-websocket/src/server.ts', use('ws')],
  ['packages/transport-websocket/src/server/probe.ts', use('@everwire/server')],
  ['packages/bus-probe/src/index.ts', use('@everwire/server')],
  ['packages/bus-probe/src/index.ts', use('ioredis')],
  ['packages/presence-probe/src/index.ts', use('@everwire/client')],
  ['packages/everwire/src/probe.ts', use('@everwire/core/src/frame.js')],
  ['packages/everwire/src/probe.ts', use('@everwire/testkit')],
  ['packages/polling-bridge/src/probe.ts', use('@everwire/server/dist/hub.js')],
  ['packages/polling-bridge/src/client.ts', use('node:crypto')],
  ['packages/polling-bridge/src/client/probe.ts', use('../server/route.js')],
  ['packages/polling-bridge/src/client/probe.ts', use('@everwire/client')],
  ['packages/polling-bridge/src/browser.ts', use('./server.js')],
  ['packages/react/src/probe.ts', use('../../client/src/index.js')],
  ['packages/react/src/probe.ts', use('@everwire/core')],
  ['packages/react/src/probe.ts', use('vue')],
  ['packages/vue/src/probe.ts', use('react')],
  ['packages/vue/src/probe.ts', 'export const x = () => process.version'],
  ['packages/svelte/src/probe.ts', use('svelte/store')],
  ['apps/demo/src/probe.ts', use('@everwire/server/src/hub.js')],
  ['apps/demo/src/probe.ts', use('../../../packages/core/src/index.js')],
  ['packages/testkit/src/probe.ts', use('@everwire/server')],
  ['packages/testkit/src/probe.ts', use('fastify')],
  ['packages/server/test/probe.test.ts', use('../../core/src/index.js')],
  ['packages/server/src/probe.ts', 'const x = 1\nexport default x'],
  ['packages/server/src/probe.ts', 'const x = 1\nexport { x as default }'],
  ['packages/server/src/probe.ts', 'export enum X { a }'],
  ['packages/server/src/probe.ts', 'export namespace X { export const a = 1 }'],
  ['packages/server/src/probe.ts', 'export const x = (y: any) => y'],
  ['packages/server/src/probe.ts', 'export class X { constructor(readonly y: string) {} }'],
  ['packages/server/src/probe.ts', 'export let x = 1'],
  ['packages/server/src/probe.ts', 'export const x = () => setTimeout(() => {}, 1)'],
  ['packages/client/src/probe.ts', 'export const x = () => process.version'],
  ['packages/core/src/probe.ts', 'export const x = () => fetch("/")'],
]

const allowed = [
  ['packages/core/src/probe.ts', use('./frame.js')],
  ['packages/core/src/clock.ts', 'export const x = () => setTimeout(() => {}, 1)'],
  ['packages/core/test/probe.test.ts', use('fast-check')],
  ['packages/core/test/probe.test.ts', use('../src/frame.js')],
  ['packages/server/src/probe.ts', use('fastify')],
  ['packages/server/src/probe.ts', use('@fastify/rate-limit')],
  [
    'packages/server/src/probe.ts',
    "declare module 'fastify' {\n  interface X {\n    y: string\n  }\n}\nexport {}",
  ],
  ['packages/client/src/probe.ts', use('@everwire/core')],
  ['packages/client/test/probe.test.ts', use('@everwire/testkit')],
  ['packages/transport-sse/src/server.ts', useType('fastify')],
  ['packages/transport-sse/src/server.ts', use('./shared.js')],
  ['packages/transport-websocket/src/server.ts', use('@fastify/websocket')],
  ['packages/transport-websocket/src/server.ts', useType('ws')],
  ['packages/testkit/src/probe.ts', use('fast-check')],
  ['packages/everwire/src/probe.ts', use('@everwire/transport-sse/server')],
  ['packages/react/src/probe.ts', use('@everwire/client/stores')],
  ['packages/vue/src/probe.ts', use('vue')],
  ['apps/demo/src/probe.ts', use('@everwire/testkit')],
]

t.test('lint refuses what the import table and the style rule out', async (t) => {
  for (const [file, code] of refused) {
    const found = await broken(file, code)
    t.equal(found.length, 1, `${file}: ${code}`, { found })
  }
})

t.test('lint lets pass what they allow', async (t) => {
  for (const [file, code] of allowed) t.same(await broken(file, code), [], `${file}: ${code}`)
})
