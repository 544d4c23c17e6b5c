// npm start: the demo, on a machine that has only Node and npm.
import { createServer } from 'node:net'
import { parseArgs } from 'node:util'
import { Refusal, at, endWithParent, install, main, run, say, turbo } from './lib.mjs'
import { providePrograms } from './programs.mjs'

const args = process.argv.slice(2)
const mostNodes = 9
const usage = `npm start [-- --port PORT --host HOST --nodes NODES]
PORT (default 3000; 0 takes any free one) and HOST (default 127.0.0.1) can stand in the environment too.
NODES (default 1, at most ${mostNodes}) server processes share a nats-server: one of their own, unless NATS_URL names another.`
const options = {
  port: { type: 'string' },
  host: { type: 'string' },
  nodes: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
}

/** What is asked for by options, else by the environment, else the default. */
function settings() {
  const { values, tokens } = parseArgs({ args, strict: false, tokens: true, options })
  const known = Object.keys(options)
    .map((name) => `--${name}`)
    .join(', ')
  for (const { kind, name, rawName, value } of tokens) {
    if (kind === 'positional') throw new Refusal(`Unexpected argument "${value}". Known options: ${known}.`)
    if (kind === 'option' && !Object.hasOwn(options, name))
      throw new Refusal(`Unknown option ${rawName}. Known options: ${known}.`)
  }
  const port = values.port ?? (process.env.PORT || '3000')
  const host = values.host ?? (process.env.HOST || '127.0.0.1')
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535)
    throw new Refusal(`The port must be a whole number from 0 to 65535, not "${port}" (--port, or PORT).`)
  if (typeof host !== 'string' || host === '') throw new Refusal('--host needs a value, such as 127.0.0.1.')
  const nodes = values.nodes ?? '1'
  if (typeof nodes !== 'string' || !/^\d$/.test(nodes) || Number(nodes) < 1)
    throw new Refusal(`--nodes must be a whole number from 1 to ${mostNodes}, not "${nodes}".`)
  return { port: Number(port), host, nodes: Number(nodes), help: values.help === true }
}

const problems = {
  EADDRINUSE: (port) =>
    `Port ${port} is taken: stop what listens there, or choose another: PORT=3001 npm start`,
  EACCES: (port) =>
    `Port ${port} needs more rights than this user has; choose one above 1023: PORT=3000 npm start`,
}

/** Finds out before a long install, not after it. */
function checkFree(port, host) {
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.on('error', (error) => {
      const problem =
        problems[error.code]?.(port) ?? `Cannot listen on ${host}, port ${port}: ${error.message}`
      reject(new Refusal(problem))
    })
    probe.listen({ port, host, exclusive: true }, () => probe.close(resolve))
  })
}

await main(async () => {
  const { port, host, nodes, help } = settings()
  if (help) {
    say(usage)
    return 0
  }
  endWithParent()
  await checkFree(port, host)
  if (nodes > 1 && !process.env.NATS_URL) await providePrograms(['nats-server'])
  await install()
  say('Building the demo ...')
  const build = await turbo(['build', '--filter=@everwire/demo...'], { quiet: true })
  if (build.code !== 0) throw new Refusal(`${build.output}\nBuilding the demo failed.`)
  const shown = host.includes(':') ? `[${host}]` : host
  say(port === 0 ? `Starting the demo on ${shown} ...` : `Starting the demo on http://${shown}:${port} ...`)
  const demo = [at('apps/demo/dist/main.js'), ...args]
  const env = { PORT: String(port), HOST: host }
  const { code } = await run(process.execPath, demo, { env, input: 'inherit' })
  return code
})
