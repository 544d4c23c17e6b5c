import cluster, { type Worker } from 'node:cluster'
import { once } from 'node:events'
import { request } from 'node:http'
import { fileURLToPath } from 'node:url'
import { encodeEvents, encodeFrame } from '@everwire/core'
import { createFakeClock } from '@everwire/testkit'
import t, { type Test } from 'tap'
import { memoryBus } from '../src/index.js'
import { findSiblings, guardLoneProcess } from '../src/lone-process.js'

t.test('knows that it is one of several', async (t) => {
  // As PM2 7.0.4 sets them.
  const pm2 = (mode: string, instances: string, index: string) => ({
    pm_id: '7',
    exec_mode: `${mode}_mode`,
    instances,
    instance_var: 'NODE_APP_INSTANCE',
    NODE_APP_INSTANCE: index,
  })
  const cases: [name: string, isWorker: boolean, env: Record<string, string>, shown: RegExp | undefined][] = [
    ['a process by itself', false, {}, undefined],
    ['a worker of node:cluster', true, {}, /node:cluster/],
    ['the first of two by PM2', true, pm2('cluster', '2', '0'), /PM2/],
    ['the only one by PM2, which is a worker too', true, pm2('cluster', '1', '0'), undefined],
    ['what `pm2 scale` added to one', true, pm2('cluster', '1', '1'), /PM2/],
    ['two by PM2 without node:cluster', false, pm2('fork', '2', '0'), /PM2/],
    ['one by PM2 without node:cluster', false, pm2('fork', '1', '0'), undefined],
    ['a worker that such a one has forked', true, pm2('fork', '1', '0'), /node:cluster/],
    [
      'what `pm2 scale` added, with the index in another variable',
      true,
      { ...pm2('cluster', '1', '0'), instance_var: 'INDEX', INDEX: '1' },
      /PM2/,
    ],
    ['a variable that only looks like PM2', false, { instances: '4', NODE_APP_INSTANCE: '2' }, undefined],
  ]
  for (const [name, isWorker, env, shown] of cases)
    if (shown) t.match(findSiblings({ isWorker, env }), shown, name)
    else t.equal(findSiblings({ isWorker, env }), undefined, name)
})

t.test(
  'warns once in five minutes about sessions of other processes, and not with a shared bus',
  async (t) => {
    const clock = createFakeClock()
    const warnings: string[] = []
    const guard = (name: string, isWorker: boolean) =>
      guardLoneProcess({
        bus: { ...memoryBus({ clock }), name },
        clock,
        warn: (message) => warnings.push(message),
        facts: { isWorker, env: {} },
      })
    guard('nats', true)()
    t.same(warnings, [])

    const foreign = guard('memory', false)
    t.same(warnings, [], 'nothing at the start of a process by itself')
    foreign()
    foreign()
    await clock.advance(299_999)
    foreign()
    t.equal(warnings.length, 1)
    t.match(warnings[0], /restarted.*@everwire\/bus-nats/)
    await clock.advance(1)
    foreign()
    t.equal(warnings.length, 2)
  },
)

interface Told {
  port?: number
  log?: string
}

/** Two workers behind one port, which get connections in turn. */
async function startWorkers(t: Test, env: Record<string, string> = {}) {
  cluster.setupPrimary({
    exec: fileURLToPath(new URL('cluster-worker.ts', import.meta.url)),
    execArgv: ['--conditions=@everwire/source', '--import', 'tsx'],
  })
  const logs = new Map<Worker, string[]>()
  t.teardown(() => {
    for (const worker of logs.keys()) worker.process.kill('SIGKILL')
  })
  let port = 0
  const start = async () => {
    const worker = cluster.fork({ NODE_OPTIONS: '', ...env })
    logs.set(worker, [])
    await new Promise<void>((resolve, reject) => {
      worker.on('exit', () => reject(new Error('the worker has ended')))
      worker.on('message', (told: Told) => {
        if (told.log !== undefined) logs.get(worker)!.push(told.log)
        if (told.port === undefined) return
        port = told.port
        resolve()
      })
    })
  }
  await Promise.all([start(), start()])

  return {
    /** Posts on a connection of its own. */
    post: async (path: string, type: string, body: string) => {
      const sent = request({
        port,
        path: `/everwire${path}`,
        method: 'POST',
        agent: false,
        headers: { 'content-type': type },
      })
      sent.end(body)
      const [response] = await once(sent, 'response')
      return Buffer.concat(await response.toArray()).toString()
    },
    /** Ends them; resolves with what each has logged. */
    stop: async () => {
      const workers = [...logs.keys()]
      await Promise.all(
        workers.map(async (worker) => {
          const gone = once(worker, 'disconnect')
          worker.send('close')
          await gone
        }),
      )
      return [...logs.values()]
    },
  }
}

async function moveSession(t: Test, { post }: Awaited<ReturnType<typeof startWorkers>>) {
  const { session } = JSON.parse(await post('/session', 'application/json', '{"v":1}'))
  const uplink = encodeEvents([encodeFrame(['uplink', { session, first: 1 }])])
  const answers = []
  for (let i = 0; i < 4; i++) answers.push(await post('/uplink', 'text/event-stream', uplink))
  const refused = answers.filter((answer) => answer.includes('unknown-session')).length
  t.equal(refused, 2, 'every other request reaches the worker that does not have the session')
}

t.test('workers of node:cluster without a shared bus warn at start and about each other', async (t) => {
  const workers = await startWorkers(t)
  await moveSession(t, workers)
  const logs = (await workers.stop()).sort((a, b) => a.length - b.length)
  t.match(logs, [
    [/one of several \(it is a worker of node:cluster\).*@everwire\/bus-nats/],
    [/one of several/, /session of another process/],
  ])
  t.same(
    logs.map(({ length }) => length),
    [1, 2],
  )
})

t.test('workers of node:cluster with a shared bus have nothing to warn about', async (t) => {
  const workers = await startWorkers(t, { SHARED_BUS: '1' })
  await moveSession(t, workers)
  t.same(await workers.stop(), [[], []])
})
