import t from 'tap'
import { nats } from '@everwire/bus-nats'
import { transportSuite } from '@everwire/testkit'
import { startNats } from '@everwire/testkit/nats-server'
import { suite } from './suite.js'

// The same with a real NATS under it.
const server = await startNats()
t.teardown(() => server.stop())
let places = 0

await transportSuite(t, {
  ...suite,
  bus: {
    durable: true,
    place() {
      const prefix = `place-${++places}`
      return () => nats({ servers: server.url, prefix })
    },
  },
})
