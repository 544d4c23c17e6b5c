import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { createClient, type Client, type EverwireError } from '@everwire/client'
import { createLedger } from '@everwire/testkit'
import { longPolling } from '@everwire/transport-long-polling/client'
import { sse } from '@everwire/transport-sse/client'
import { webSocket } from '@everwire/transport-websocket/client'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { buildPage } from '../src/build-page.js'
import {
  ledgerChannel,
  liveLedgerChannel,
  type NodesStatus,
  type NodeStatus,
  type NumberedMessage,
  type ServerInfo,
} from '../src/shared.js'
import { pollUntil, until } from '../verify/support/until.js'

// The program with three nodes, each a process of its own, as npm start runs it: clients on all transports go through
// its proxy while nodes are drained, killed and started.

t.setTimeout(240_000)

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url))
const publicDir = fileURLToPath(new URL('../dist/public', import.meta.url))
const program = ['--conditions=@everwire/source', '--import', 'tsx', main]
const patienceMs = 40_000

interface Running {
  child: ChildProcess
  url: string
  closed: Promise<unknown[]>
}

/** Starts the program; resolves once it says that it is ready. */
async function run(t: Test, nodes: number, command = process.execPath, args = program): Promise<Running> {
  const child = spawn(command, [...args, '--port', '0', '--nodes', String(nodes)], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, NODE_OPTIONS: '', PORT: '', HOST: '', NATS_URL: '' },
  })
  t.teardown(() => child.kill('SIGKILL'))
  const closed = once(child, 'close')
  const lines: string[] = []
  return await new Promise((resolve, reject) => {
    closed.then(() => reject(new Error(`it ended: ${lines.join('\n')}`)), reject)
    createInterface(child.stdout).on('line', (line) => {
      lines.push(line)
      const [, port] =
        /^The demo is ready on http:\/\/localhost(:\d+) \(\d nodes on NATS at /.exec(line) ?? []
      if (port) resolve({ child, url: `http://127.0.0.1${port}`, closed })
    })
  })
}

/** A process and all that it started. */
function family(pid: number): number[] {
  const all = execFileSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' })
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number) as [number, number])
  const members = [pid]
  for (const member of members)
    members.push(...all.filter(([, parent]) => parent === member).map(([one]) => one))
  return members
}

const argumentsOf = (pid: number) =>
  execFileSync('ps', ['-p', String(pid), '-o', 'args='], { encoding: 'utf8' }).trim()

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

const gone = (pids: number[]) => until('all processes end', () => !pids.some(lives), patienceMs)

let demo: Running
let cookie = ''
const startedPids = new Set<number>()

t.before(async () => {
  if (!existsSync(publicDir)) await buildPage(publicDir, { conditions: ['@everwire/source'] })
  demo = await run(t, 3)
  cookie = (await fetch(demo.url)).headers.getSetCookie()[0]!.split(';')[0]!
})

const status = async () => (await (await fetch(`${demo.url}/nodes`)).json()) as NodesStatus
const at = async (place: number) => (await status()).nodes[place - 1]!
const states = async () => (await status()).nodes.map(({ state }) => state).join()
const press = (place: number | string, action: string, headers: Record<string, string> = { cookie }) =>
  fetch(`${demo.url}/nodes/${place}/${action}`, { method: 'POST', headers })

/** Resolves once the node at a place is in a state. */
async function becomes(place: number, state: NodeStatus['state']): Promise<NodeStatus> {
  await pollUntil(`node ${place} is ${state}`, async () => (await at(place)).state === state, patienceMs)
  for (const pid of family(demo.child.pid!)) startedPids.add(pid)
  return await at(place)
}

/** Nodes that new sessions come to, by so many requests. */
async function opened(requests: number): Promise<string[]> {
  const nodes: string[] = []
  for (let i = 0; i < requests; i++) {
    const response = await fetch(`${demo.url}/everwire/session`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"v":1}',
    })
    nodes.push(((await response.json()) as { session: string }).session.split('.')[0]!)
  }
  return nodes
}

const channels = [ledgerChannel, liveLedgerChannel]
const transports = { websocket: () => webSocket({ WebSocket }), sse, 'long-polling': longPolling }
const ledger = createLedger({
  totalOrder: (channel) => channel === ledgerChannel,
  // Whether something was lost with a node that died cannot be known.
  mayTell: (channel) => channel === liveLedgerChannel,
})
const gaps: string[] = []
const clients = new Map<string, Client>()
let sequence = 0
let open = 0
let stopPublishing = () => {}

/** A client that publishes into the channel with history and into the live one, and reads both. */
async function join(name: string, transport: keyof typeof transports): Promise<void> {
  const client = createClient({
    url: `${demo.url}/everwire`,
    transports: [transports[transport]()],
    maxBackoffMs: 1_000,
    linkTimeoutMs: 10_000,
  })
  clients.set(name, client)
  for (const channel of channels) {
    const reading = client.channel(channel)
    reading.on('number', (data) => {
      const { publisher, sequence } = data as NumberedMessage
      // The demo's own server publishes too.
      if (publisher.startsWith('.')) ledger.received(name, channel, publisher, sequence)
    })
    reading.on('gap', ({ reason }) => {
      gaps.push(`${name} ${channel} ${reason}`)
      ledger.gap(name, channel, reason)
    })
    await reading.subscribe()
    ledger.subscribed(name, channel)
  }
}

async function publish(client: Client, channel: string, data: NumberedMessage): Promise<void> {
  const { publisher, sequence } = data
  ledger.publishing(channel, publisher, sequence)
  open++
  try {
    await client.channel(channel).publish('number', data)
    ledger.accepted(channel, publisher, sequence)
  } catch (error) {
    if ((error as EverwireError).code !== 'outcome-unknown') ledger.refused(channel, publisher, sequence)
  } finally {
    open--
  }
}

function startPublishing(): void {
  const timer = setInterval(() => {
    sequence++
    for (const [name, client] of clients)
      for (const channel of channels)
        // Before the dot stands the visitor's public name; these have no cookie.
        void publish(client, channel, { publisher: `.${name}`, sequence })
  }, 50)
  stopPublishing = () => clearInterval(timer)
}

/** Resolves once so many more were published by each, in each channel. */
async function more(publications: number): Promise<void> {
  const goal = sequence + publications
  await until('publications', () => sequence >= goal, patienceMs)
}

/** What the ledger says once everything has had the time to arrive. */
async function settled() {
  stopPublishing()
  await until('an answer to each publication', () => open === 0, patienceMs)
  await until('everything that was accepted', () => ledger.verdict().lost === 0, patienceMs).catch(() => {})
  return ledger.verdict()
}

const clean = {
  lost: 0,
  doubled: 0,
  misordered: 0,
  unsignalledGaps: 0,
  falseGaps: 0,
  phantoms: 0,
  details: [],
}
const sessions = () => [...clients.values()].map((client) => client.stats().sessions)
const ownerOf = async (name: string) => ((await clients.get(name)!.request('server.info')) as ServerInfo).node
const placeOf = async (node: string) => (await status()).nodes.find(({ id }) => id === node)!.place

t.test('three nodes are ready, and each request goes to the next', async (t) => {
  t.match(await status(), {
    nodes: [1, 2, 3].map((place) => ({ place, state: 'ready', id: /^\w{12}$/ })),
    totals: { handedOver: 0, relayed: 0, recovered: 0 },
  })
  const ids = (await status()).nodes.map(({ id }) => id)
  const nodes = await opened(6)
  t.same([...new Set(nodes)].sort(), [...ids].sort())
  t.same(nodes.slice(3), nodes.slice(0, 3), 'in turn')
  t.match(await (await fetch(demo.url)).text(), 'This page stays connected', 'and the front serves the page')
})

t.test('a node is drained under load, and no client notices', async (t) => {
  for (const transport of Object.keys(transports) as (keyof typeof transports)[])
    for (const name of ['one', 'two']) await join(`${transport}-${name}`, transport)
  startPublishing()
  await more(20)
  const { nodes } = await status()
  const { place } = nodes.reduce((most, node) => (node.sessions > most.sessions ? node : most))
  t.ok(nodes[place - 1]!.sessions >= 2)
  const answer = await press(place, 'drain')
  t.equal(answer.status, 200)
  t.equal(((await answer.json()) as NodesStatus).nodes[place - 1]!.state, 'draining')
  await becomes(place, 'drained')
  await more(20)
  t.match(await settled(), clean)
  t.same(gaps, [])
  t.same(sessions(), [1, 1, 1, 1, 1, 1])
  t.ok((await status()).totals.handedOver >= 2)
  t.ok((await status()).totals.relayed > 0)
  t.notOk((await opened(4)).includes(nodes[place - 1]!.id), 'nobody is sent there any more')

  t.equal((await press(place, 'start')).status, 200)
  const { id } = await becomes(place, 'ready')
  t.not(id, nodes[place - 1]!.id)
  t.ok((await opened(6)).includes(id), 'the new one takes its place')
})

t.test('a node is killed under load: nothing of a history is lost', async (t) => {
  startPublishing()
  await more(20)
  const owner = await ownerOf('websocket-one')
  const place = await placeOf(owner)
  const answer = await press(place, 'kill')
  t.equal(((await answer.json()) as NodesStatus).nodes[place - 1]!.state, 'killed')
  await until('a new session', () => clients.get('websocket-one')!.stats().sessions === 2, patienceMs)
  const everyone = () =>
    [...clients.values()].every(
      (client) => client.state === 'connected' && channels.every((name) => client.channel(name).subscribed),
    )
  await until('everyone reads again', everyone, patienceMs)
  await more(20)
  t.match(await settled(), clean)
  t.ok(gaps.length > 0, 'a live channel tells what the death of a node lost')
  t.same(
    gaps.filter((gap) => !gap.includes(liveLedgerChannel)),
    [],
  )
  t.ok((await status()).totals.recovered > 0)
  t.not(await ownerOf('websocket-one'), owner)

  t.equal((await press(place, 'start')).status, 200)
  t.not((await becomes(place, 'ready')).id, owner)
})

t.test('a node that does not answer gets nothing until it does', async (t) => {
  const pid = family(demo.child.pid!).find((one) => argumentsOf(one).endsWith('--as-node'))!
  process.kill(pid, 'SIGSTOP')
  t.teardown(() => lives(pid) && process.kill(pid, 'SIGCONT'))
  await pollUntil('a node is cut off', async () => (await states()).includes('cut-off'), patienceMs)
  const silent = (await status()).nodes.find(({ state }) => state === 'cut-off')!
  t.notOk((await opened(6)).includes(silent.id))
  process.kill(pid, 'SIGCONT')
  await becomes(silent.place, 'ready')
  t.ok((await opened(6)).includes(silent.id))
})

t.test('refuses what makes no sense', async (t) => {
  const refused = async (code: number, error: RegExp, ...request: Parameters<typeof press>) => {
    const response = await press(...request)
    t.equal(response.status, code, `${request[0]} ${request[1]}`)
    t.match(((await response.json()) as { error: string }).error, error)
  }
  for (const place of ['0', '4', '1.5', '-1', 'one', '12', '%00', '1e0'])
    await refused(400, /the nodes are 1 to 3/, place, 'kill')
  await refused(400, /a node can kill, drain, start/, 1, 'stop')
  await refused(400, /a node can/, 1, 'constructor')
  await refused(400, /load the page first/, 1, 'kill', {})
  await refused(400, /load the page first/, 1, 'kill', { cookie: 'everwire-demo-visitor=guess' })
  await refused(409, /node 1 runs already: it is ready/, 1, 'start')
  t.equal(await states(), 'ready,ready,ready', 'and nothing has happened')

  await press(2, 'kill')
  await refused(409, /node 2 is killed already/, 2, 'kill')
  await refused(409, /node 2 is killed: only a ready one drains/, 2, 'drain')
  await press(3, 'kill')
  await refused(409, /node 1 is the only one that is ready/, 1, 'drain')
})

t.test('the front lives without any node, and keeps what a visitor broke', async (t) => {
  const faults = await fetch(`${demo.url}/path/faults`, {
    method: 'POST',
    headers: { cookie, 'content-type': 'application/json' },
    body: '{"sse":"blocked"}',
  })
  t.equal(faults.status, 200)
  await press(1, 'kill')
  t.equal(await states(), 'killed,killed,killed')
  t.equal((await fetch(`${demo.url}/everwire/session`, { method: 'POST' })).status, 503)
  t.equal((await fetch(demo.url)).status, 200)
  await Promise.all([1, 2, 3].map((place) => press(place, 'start')))
  await press(2, 'kill')
  t.equal((await at(2)).state, 'killed', 'one that only starts can be killed too')
  await becomes(1, 'ready')
  await becomes(3, 'ready')
  t.equal((await fetch(`${demo.url}/everwire/sse`, { headers: { cookie } })).status, 403)
  const stranger = await fetch(`${demo.url}/everwire/sse`)
  await stranger.text()
  t.not(stranger.status, 403)
})

t.test('ends within seconds, with clients, and leaves no process behind', async (t) => {
  await until(
    'everyone is back',
    () => [...clients.values()].every(({ state }) => state === 'connected'),
    patienceMs,
  )
  for (const pid of family(demo.child.pid!)) startedPids.add(pid)
  t.ok(startedPids.size > 6, 'the demo, its nodes, NATS')
  const began = performance.now()
  demo.child.kill('SIGTERM')
  const [code] = await demo.closed
  t.equal(code, 0)
  t.ok(performance.now() - began < 8_000, `${Math.round(performance.now() - began)} ms`)
  for (const client of clients.values()) client.close()
  await gone([...startedPids])
})

t.test('leaves no process behind when it is killed', async (t) => {
  const { child } = await run(t, 2)
  const pids = family(child.pid!)
  t.ok(pids.length >= 4)
  child.kill('SIGKILL')
  await gone(pids)
})

t.test('leaves no process behind when whoever started it is killed', async (t) => {
  const script =
    'require("child_process").spawn(process.execPath, process.argv.slice(1), { stdio: "inherit" })'
  const { child } = await run(t, 2, process.execPath, ['-e', script, '--', ...program])
  const pids = family(child.pid!)
  t.ok(pids.length >= 5)
  child.kill('SIGKILL')
  await gone(pids)
})
