import { busSuite } from '@everwire/testkit'
import { startNats } from '@everwire/testkit/nats-server'
import t from 'tap'
import { nats } from '../src/index.js'

t.test('the bus on one NATS server', async (t) => {
  const server = await startNats()
  t.teardown(() => server.stop())
  let backends = 0
  await busSuite(t, {
    nodes: true,
    create() {
      const prefix = `suite-${++backends}`
      return {
        createBus: () =>
          nats({ servers: server.url, prefix, partitions: 3, checkPeriodMs: 500, beatMs: 200 }),
      }
    },
  })
})
