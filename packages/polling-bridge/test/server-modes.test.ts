import type { Bus } from '@everwire/core'
import t, { type Test } from 'tap'
import type { FollowedPublication } from '@everwire/server'
import { controlChannel, type PollingBridgeOptions } from '../src/server.js'
import { sharedBus, startNode } from './server-app.js'

const start = (t: Test, bridge: PollingBridgeOptions = {}, bus?: Bus) =>
  startNode(t, {
    bridge,
    ...(bus && { bus }),
    routes: (app) => void app.get('/orders', { config: { poll: { channel: 'orders:all' } } }, async () => []),
  })

type App = Awaited<ReturnType<typeof start>>['app']

/** How a request was answered. */
async function modeOf(app: App, headers: Record<string, string> = {}, remoteAddress = '127.0.0.1') {
  const answer = await app.inject({ url: '/orders', headers, remoteAddress })
  return answer.headers.link ? 'live' : answer.headers.etag ? 'polling' : 'off'
}

t.test('the lowest of option, switch and what the request asks for', async (t) => {
  for (const [option, switched, header, expected] of [
    ['live', undefined, undefined, 'live'],
    ['live', undefined, 'polling', 'polling'],
    ['live', undefined, 'off', 'off'],
    ['live', 'polling', undefined, 'polling'],
    ['live', 'polling', 'live', 'polling'],
    ['live', 'live', 'off', 'off'],
    ['polling', 'live', 'live', 'polling'],
    ['off', 'live', 'live', 'off'],
    ['live', 'off', 'live', 'off'],
    ['live', undefined, 'nonsense', 'live'],
  ] as const) {
    const { app } = await start(t, { mode: option })
    if (switched) await app.pollingBridge.set({ mode: switched })
    const mode = await modeOf(app, header && { 'everwire-mode': header })
    t.equal(mode, expected, JSON.stringify([option, switched, header]))
  }
})

t.test('a roll-out is the same users at every node, and each request may ask otherwise', async (t) => {
  const user: PollingBridgeOptions['user'] = (request) => request.headers['x-user'] as string | undefined
  const one = await start(t, { rollout: 30, user })
  const two = await start(t, { rollout: 30, user })
  const wide = await start(t, { rollout: 60, user })
  const none = await start(t, { rollout: 0, user })
  let live = 0
  for (let index = 0; index < 200; index++) {
    const headers = { 'x-user': `user-${index}` }
    const mode = await modeOf(one.app, headers)
    if (mode === 'live') live++
    if (mode !== (await modeOf(two.app, headers))) t.fail('the nodes differ')
    if (mode === 'live' && (await modeOf(wide.app, headers)) !== 'live')
      t.fail('a larger one took somebody back')
    if (index < 20 && (await modeOf(none.app, headers)) !== 'polling') t.fail('none is none')
  }
  t.ok(live > 40 && live < 80, `${live} of 200`)
  t.equal(await modeOf(none.app, { 'everwire-mode': 'live' }), 'live')
  // Without a user it is the address.
  const addresses = await Promise.all(
    Array.from({ length: 50 }, (_, index) => modeOf(one.app, {}, `10.0.0.${index}`)),
  )
  t.strictSame([...new Set(addresses)].sort(), ['live', 'polling'])
})

t.test('the switch is one publication for all nodes, and for those that come later', async (t) => {
  const bus = sharedBus(t)
  const one = await start(t, {}, bus)
  const two = await start(t, {}, bus)
  await one.app.pollingBridge.set({ mode: 'polling', rollout: 5 })
  for (const { app } of [one, two]) {
    t.equal(await modeOf(app), 'polling')
    t.match(app.pollingBridge.state(), {
      mode: 'polling',
      rollout: 5,
      control: { mode: 'polling', rollout: 5 },
    })
  }
  const three = await start(t, {}, bus)
  t.equal(await modeOf(three.app), 'polling')
  // What is left away is as the options say.
  await three.app.pollingBridge.set({})
  for (const { app } of [one, two, three]) t.match(app.pollingBridge.state(), { mode: 'live', rollout: 100 })
})

t.test('operators switch with curl, and nobody else does', async (t) => {
  const { app, logs } = await start(t)
  const post = (headers: Record<string, string>, payload: object) =>
    app.inject({
      method: 'POST',
      url: `/everwire/channels/${controlChannel}?event=set`,
      headers: { 'content-type': 'application/json', ...headers },
      payload,
    })
  const key = { authorization: 'Bearer server-key-for-tests-0123456789abcdef' }
  const refused = await post({}, { mode: 'off' })
  t.ok(refused.statusCode >= 400, refused.body)
  t.equal(await modeOf(app), 'live')
  const stored = await post({ ...key, 'everwire-event': 'set' }, { mode: 'off' })
  t.ok(stored.statusCode < 300, stored.body)
  t.equal(await modeOf(app), 'off')
  // Nonsense changes nothing.
  await post(key, { mode: 'sideways' })
  t.equal(await modeOf(app), 'off')
  t.ok(logs.some(({ err }) => err?.message.includes('mode must be one of')))
})

t.test('clients may read the switch', async (t) => {
  const { app } = await start(t)
  await app.pollingBridge.set({ rollout: 7 })
  const seen: FollowedPublication[] = []
  await app.everwire.follow(controlChannel, { publication: (publication) => seen.push(publication) })
  const read = await app.inject(`/everwire/channels/${controlChannel}?offset=-1`)
  t.match(read.json(), [{ event: 'set', data: { rollout: 7 } }])
})
