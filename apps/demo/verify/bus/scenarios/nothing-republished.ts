import { setTimeout as sleep } from 'node:timers/promises'
import { channelNames } from '../../support/play/channels.js'
import type { Scenario } from '../../support/play/scenario.js'

/** Whatever JetStream republishes is lost on the way: what is stored must be found all the same. */
export const nothingRepublished: Scenario = {
  name: 'nothing-republished',
  brief: false,
  gaps: {},
  async play(stage) {
    const { crowd, random, say } = stage
    const { history } = channelNames(6)
    const nats = await stage.nats()
    const nodes = await stage.nodes([nats.urls], { deaf: true })
    await stage.gather({ members: 6, nodes, channels: history, reading: 3 })
    const stop = crowd.publishSteadily(50, history, random.fork('publications'))
    await sleep(6_000)
    stop()
    say('published, and nothing was republished')
  },
}
