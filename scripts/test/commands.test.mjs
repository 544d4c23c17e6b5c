import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import path from 'node:path'
import { createInterface } from 'node:readline'
import t from 'tap'
import { at, findPackages, root } from '../lib.mjs'

// The commands that README.md and CONTRIBUTING.md name: each must exist as it stands there. The checks and tests among
// them are what `npm test` runs; `npm start` is run here.

const manifest = JSON.parse(readFileSync(at('package.json'), 'utf8'))

/** Commands of a document, with the folder that an earlier `cd` of the same section led to. */
function commandsOf(document) {
  let folder = '.'
  return document.split('\n').flatMap((line) => {
    if (line.startsWith('#')) folder = '.'
    const block = /^ {4}(\S.*)$/.exec(line)?.[1].split(' #')[0].trim()
    const spans = [...line.matchAll(/`((?:npm|npx|node|PORT=\d+) [^`]+)`/g)].map(([, span]) => span)
    if (block?.startsWith('cd ')) folder = block.slice(3)
    return [...(block ? [block] : []), ...spans].map((command) => ({ command, folder }))
  })
}

const programs = {
  cd: (_folder, [to]) => (existsSync(at(to)) ? undefined : `there is no folder ${to}`),

  npm(_folder, [verb, ...names]) {
    if (verb === 'install') return names.map(missingPackage).find(Boolean)
    const script = verb === 'run' ? names[0] : verb
    if (!['run', 'start', 'test'].includes(verb)) return `npm ${verb} is not known here`
    return Object.hasOwn(manifest.scripts, script) ? undefined : `package.json has no script ${script}`
  },

  npx(folder, [name, ...args]) {
    if (name === manifest.packageManager) return pnpm(args)
    if (name.startsWith('pnpm@')) return `package.json pins ${manifest.packageManager}`
    return bins(folder, name) ?? missingFile(folder, args)
  },

  node: (folder, args) => missingFile(folder, args),
}

function pnpm([verb, ...args]) {
  const filter = args.indexOf('--filter')
  if (verb === '--filter') return pnpm([args[1], '--filter', args[0]])
  const missing = filter >= 0 && missingPackage(args[filter + 1])
  if (missing) return missing
  return ['install', 'add'].includes(verb) ? undefined : bins('.', verb)
}

const missingPackage = (wanted) =>
  wanted.startsWith('@everwire/') && !findPackages().some(({ name }) => name === wanted)
    ? `there is no package ${wanted}`
    : undefined

const bins = (folder, name) =>
  [folder, '.'].some((from) => existsSync(at(from, 'node_modules/.bin', name)))
    ? undefined
    : `no dependency has the program ${name}`

function missingFile(folder, args) {
  const file = args.find((arg) => /\.m?[jt]s$/.test(arg) && !existsSync(at(folder, arg)))
  return file && `there is no file ${path.join(folder, file)}`
}

/** Says what of a command does not exist, or nothing. */
function problemOf({ command, folder }) {
  const [program, ...args] = command.split(/\s+/).filter((word) => !/^[A-Z]+=/.test(word))
  return Object.hasOwn(programs, program) ? programs[program](folder, args) : `${program} is not known here`
}

t.test('every command that the documents name exists', (t) => {
  for (const file of ['README.md', 'CONTRIBUTING.md']) {
    const commands = commandsOf(readFileSync(at(file), 'utf8'))
    t.ok(commands.length >= 4, `${file} names ${commands.length}`)
    for (const found of commands) t.equal(problemOf(found), undefined, `${file}: ${found.command}`)
  }
  t.end()
})

t.test('a command that does not exist is found', (t) => {
  const document = [
    '    cd packages/none',
    '# Next',
    'Say `npm run nothing` or `PORT=1 npm begin`.',
    '    npm install fastify @everwire/nothing',
    '    npx pnpm@1.0.0 install       # words',
    `    npx ${manifest.packageManager} --filter @everwire/none add NAME`,
    '    cd packages/core',
    '    npx tap test/none.test.ts',
    '    npx nothing',
    '    node --import tsx test/none.ts',
    '    yarn install',
  ].join('\n')
  t.same(commandsOf(document).map(problemOf), [
    'there is no folder packages/none',
    'package.json has no script nothing',
    'npm begin is not known here',
    'there is no package @everwire/nothing',
    `package.json pins ${manifest.packageManager}`,
    'there is no package @everwire/none',
    undefined,
    `there is no file ${path.join('packages/core', 'test/none.test.ts')}`,
    'no dependency has the program nothing',
    `there is no file ${path.join('packages/core', 'test/none.ts')}`,
    'yarn is not known here',
  ])
  t.end()
})

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  return port
}

/** Starts the demo, fetches its page, asks it to end with SIGTERM. Resolves when all that was started has ended. */
async function tryDemo(t, command, args) {
  const port = await freePort()
  // In a group of its own, so that nothing is left behind when this fails.
  const child = spawn(command, args, {
    cwd: root,
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, NODE_OPTIONS: '', PORT: String(port) },
  })
  const closed = once(child, 'close')
  t.teardown(
    () => child.exitCode === null && child.signalCode === null && process.kill(-child.pid, 'SIGKILL'),
  )
  let page = ''
  // They end when nobody can write to them any more, the demo included.
  for await (const line of createInterface(child.stdout)) {
    if (!line.startsWith('The demo is ready on ')) continue
    const [url] = /http:\S+/.exec(line)
    t.equal(new URL(url).port, String(port))
    page = await (await fetch(url)).text()
    child.kill('SIGTERM')
  }
  t.match(page, /<title>/)
  const [code, signal] = await closed
  await t.rejects(fetch(`http://127.0.0.1:${port}`), 'nothing is left behind')
  return { code, signal }
}

t.test('npm start serves the demo, and nothing of it outlives npm', async (t) => {
  // How npm itself ends by a signal differs between its versions.
  await tryDemo(t, 'npm', ['start'])
})

t.test('npm start serves the demo with several nodes, and nothing of it outlives npm', async (t) => {
  await tryDemo(t, 'npm', ['start', '--', '--nodes', '2'])
})

t.test('what npm start runs ends well when it is asked to', async (t) => {
  const [program, ...args] = manifest.scripts.start.split(' ')
  t.equal(program, 'node')
  t.same(await tryDemo(t, process.execPath, args), { code: 0, signal: null })
})

// The first may have to build.
t.setTimeout(300_000)
