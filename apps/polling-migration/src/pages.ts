import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { partOf } from './steps.js'
import { tokenFor } from './users.js'

const source = fileURLToPath(new URL('page', import.meta.url))

async function bundle(entry: string, format: 'esm' | 'iife' = 'esm'): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [entry],
    bundle: true,
    minify: true,
    write: false,
    format,
    target: 'es2022',
    conditions: ['@everwire/source'],
    logLevel: 'warning',
  })
  return outputFiles[0]!.text
}

/** The pages of the step that PAGE names: one that is bundled, and one in plain script. */
async function plugin(app: FastifyInstance): Promise<void> {
  const step = process.env.PAGE ?? '0'
  const bridge = fileURLToPath(import.meta.resolve('@everwire/polling-bridge/browser'))
  const files = {
    '/': { type: 'text/html', text: await readFile(path.join(source, 'index.html'), 'utf8') },
    '/page.js': { type: 'text/javascript', text: await bundle(partOf(step, 'page.ts')!) },
    '/plain': { type: 'text/html', text: await readFile(partOf(step, 'plain.html')!, 'utf8') },
    '/polling.js': { type: 'text/javascript', text: await bundle(bridge, 'iife') },
    '/style.css': { type: 'text/css', text: await bundle(path.join(source, 'style.css')) },
  }
  for (const [url, { type, text }] of Object.entries(files))
    app.get(url, async (request, reply) => {
      if (type === 'text/html' && !request.user)
        reply.setCookie('session', tokenFor('ann'), { path: '/', httpOnly: true, sameSite: 'lax' })
      return await reply.type(`${type}; charset=utf-8`).header('cache-control', 'no-cache').send(text)
    })
}

export const pages = fp(plugin, { name: 'pages', dependencies: ['users'] })
