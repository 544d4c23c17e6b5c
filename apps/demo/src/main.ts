import { EverwireError } from '@everwire/core'
import { createDemo } from './app.js'
import { nodeArgument } from './nodes/messages.js'
import { runNode } from './nodes/node.js'
import { createNodesDemo } from './nodes/nodes-demo.js'
import { readOptions, usage, UsageError, type DemoSettings } from './options.js'

const closeTimeoutMs = 5_000
/** Nodes get a moment to say goodbye, the whole demo a moment more. */
const nodesCloseTimeoutMs = 8_000
const parentCheckMs = 500

/** An error that one line explains, or undefined. */
function explained(error: unknown, { port, host }: DemoSettings): string | undefined {
  if (error instanceof UsageError || error instanceof EverwireError) return error.message
  const { code } = error as { code?: string }
  if (code === 'EADDRINUSE')
    return `Port ${port} is taken: stop what listens there, or choose another: PORT=3001 npm start`
  if (code === 'EACCES')
    return `Port ${port} needs more rights than this user has; choose one above 1023: PORT=3000 npm start`
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND')
    return `This machine has no address ${host} (--host, or HOST).`
  return undefined
}

/** The demo, and what joins it, once it is started. */
function demoOf(settings: DemoSettings) {
  const logger = { level: 'warn' }
  if (settings.nodes === 1) {
    const bus = settings.natsUrl ? `NATS at ${settings.natsUrl}` : 'in-process bus'
    return { demo: createDemo({ ...settings, logger }), bus: () => bus }
  }
  const demo = createNodesDemo({ ...settings, logger })
  return { demo, bus: () => `${settings.nodes} nodes on NATS at ${demo.natsUrl}` }
}

/** Processes of its own make it worth looking: whoever started this one may be killed without a word. */
function endWithParent(end: () => void): void {
  const parent = process.ppid
  setInterval(() => process.ppid !== parent && end(), parentCheckMs).unref()
}

async function main(): Promise<void> {
  const settings = readOptions(process.argv.slice(2), process.env)
  if (!settings) return console.log(usage)
  const { demo, bus } = demoOf(settings)
  const several = settings.nodes > 1
  let stopping = false
  const close = () => {
    if (stopping) return
    stopping = true
    setTimeout(() => process.exit(1), several ? nodesCloseTimeoutMs : closeTimeoutMs).unref()
    demo.close().catch((error: unknown) => {
      console.error(error)
      process.exitCode = 1
    })
  }
  const stop = () => {
    // Twice is an impatient user.
    if (stopping) process.exit(1)
    close()
  }
  process.on('SIGINT', stop)
  process.on('SIGTERM', stop)
  if (several) {
    process.on('SIGHUP', stop)
    endWithParent(close)
  }
  try {
    const { url } = await demo.start()
    if (!stopping) console.log(`The demo is ready on ${url} (${bus()}). Ctrl-C stops it.`)
  } catch (error) {
    const line = explained(error, settings)
    if (line === undefined) throw error
    throw new UsageError(line)
  }
}

try {
  if (process.argv[2] === nodeArgument && process.connected) await runNode()
  else await main()
} catch (error) {
  console.error(error instanceof UsageError ? error.message : error)
  process.exitCode = 1
}
