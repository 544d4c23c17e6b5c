import { EverwireError } from '@everwire/core'
import { createDemo } from './app.js'
import { readOptions, usage, UsageError, type DemoSettings } from './options.js'

const closeTimeoutMs = 5_000

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

async function main(): Promise<void> {
  const settings = readOptions(process.argv.slice(2), process.env)
  if (!settings) return console.log(usage)
  const demo = createDemo({ ...settings, logger: { level: 'warn' } })
  let stopping = false
  const stop = () => {
    // Twice is an impatient user.
    if (stopping) process.exit(1)
    stopping = true
    setTimeout(() => process.exit(1), closeTimeoutMs).unref()
    demo.close().catch((error: unknown) => {
      console.error(error)
      process.exitCode = 1
    })
  }
  process.on('SIGINT', stop)
  process.on('SIGTERM', stop)
  try {
    const { url } = await demo.start()
    if (!stopping)
      console.log(
        `The demo is ready on ${url} (${settings.natsUrl ? `NATS at ${settings.natsUrl}` : 'in-process bus'}). Ctrl-C stops it.`,
      )
  } catch (error) {
    const line = explained(error, settings)
    if (line === undefined) throw error
    throw new UsageError(line)
  }
}

try {
  await main()
} catch (error) {
  console.error(error instanceof UsageError ? error.message : error)
  process.exitCode = 1
}
