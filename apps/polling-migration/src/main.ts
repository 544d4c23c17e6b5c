import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import type { FastifyInstance } from 'fastify'
import pg from 'pg'
import { meter } from './meter.js'
import { partOf, stepNames } from './steps.js'

const usage = `npm run migration -- --step STEP [--page STEP] [--port PORT] [--host HOST]
STEP is one of ${stepNames.join(', ')}. --page (default: the same step) shows the page of another step.
PORT (default 3100; 0 takes any free one) and HOST (default 127.0.0.1) can stand in the environment too.
NATS_URL puts the channels on NATS, DATABASE_URL the orders into PostgreSQL.`

/** A mistake that one line explains. */
class UsageError extends Error {}

function readOptions(args: string[]) {
  const { values } = parseArgs({
    args,
    options: {
      step: { type: 'string' },
      page: { type: 'string' },
      port: { type: 'string', default: process.env.PORT || '3100' },
      host: { type: 'string', default: process.env.HOST || '127.0.0.1' },
      help: { type: 'boolean', short: 'h' },
    },
  })
  const { step, page = step, port, host, help } = values
  if (help) return undefined
  if (!step || !stepNames.includes(step)) throw new UsageError(usage)
  if (!page || !stepNames.includes(page)) throw new UsageError(usage)
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535)
    throw new UsageError(`The port must be a whole number from 0 to 65535, not "${port}".`)
  return { step, page, port: Number(port), host }
}

type Build = () => Promise<FastifyInstance>

/** The trigger of a step that has one: whoever looks after the database would install it. */
async function installTrigger(step: string): Promise<void> {
  const file = partOf(step, 'trigger.sql')
  if (!file) return
  const client = new pg.Client(process.env.DATABASE_URL)
  await client.connect()
  await client.query(await readFile(file, 'utf8'))
  await client.end()
}

const serverOf = async (step: string): Promise<FastifyInstance> =>
  await ((await import(partOf(step, 'server.ts')!)) as { buildServer: Build }).buildServer()

/** What a step needs beside itself. Resolves with what ends it. */
async function surroundings(step: string): Promise<() => Promise<unknown>> {
  if (step === '3-url' && !process.env.LEGACY_URL) {
    const old = await serverOf('0')
    process.env.LEGACY_URL = await old.listen({ port: 0, host: '127.0.0.1' })
    return () => old.close()
  }
  if (step === '3-postgres' && !process.env.DATABASE_URL) {
    const { startPostgres } = await import('@everwire/testkit/postgres-server')
    const postgres = await startPostgres()
    process.env.DATABASE_URL = postgres.url
    return () => postgres.stop()
  }
  return async () => {}
}

const parentCheckMs = 500
const closeGraceMs = 1_000

/** Whoever started this one may be killed without a word. */
function endWithParent(end: () => void): void {
  const parent = process.ppid
  setInterval(() => process.ppid !== parent && end(), parentCheckMs).unref()
}

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2))
  if (!options) return console.log(usage)
  const { step, page, port, host } = options
  process.env.PAGE = page
  const endSurroundings = await surroundings(step)
  const app = await serverOf(step)
  await installTrigger(step)
  const stop = async () => {
    // Connections that a load balancer has opened in advance, without a request, would hold it up for a minute.
    const cut = setTimeout(() => app.server.closeAllConnections(), closeGraceMs)
    await app.close()
    clearTimeout(cut)
    await endSurroundings()
    process.exit(0)
  }
  let stopping = false
  const end = () => {
    if (stopping) process.exit(1)
    stopping = true
    void stop()
  }
  process.on('SIGINT', end)
  process.on('SIGTERM', end)
  process.on('disconnect', end)
  endWithParent(() => stopping || end())
  meter(app)
  const url = await app.listen({ port, host })
  process.send?.({ url })
  console.log(`Step ${step} is ready on ${url} (in plain script: ${url}/plain). Ctrl-C stops it.`)
}

try {
  await main()
} catch (error) {
  const { code } = error as { code?: string }
  const isMisuse = error instanceof UsageError || code?.startsWith('ERR_PARSE_ARGS')
  if (code === 'EADDRINUSE') console.error('That port is taken: choose another with --port.')
  else console.error(isMisuse ? (error as Error).message : error)
  process.exit(1)
}
