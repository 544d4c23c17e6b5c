import { setTimeout as sleep } from 'node:timers/promises'
import { channelNames } from '../../support/play/channels.js'
import { isHistory } from '../../support/play/node-settings.js'
import type { Scenario } from '../../support/play/scenario.js'

const returnMs = 30_000

/** `kill -9` of the only node, under the hands of clients on all transports. */
export const serverKilled: Scenario = {
  name: 'server-killed',
  brief: true,
  // What a live channel lost with its node can only be told.
  gaps: { 'live session': 'fine' },
  async play(stage) {
    const { crowd, random, brief, say } = stage
    const kills = brief ? 1 : 6
    const { all } = channelNames(6)
    const nats = await stage.nats()
    const [node] = await stage.nodes([nats.urls])
    await stage.gather({ members: 30, nodes: [node!], channels: all, reading: 4 })
    const stop = crowd.publishSteadily(150, all, random.fork('publications'))
    for (let kill = 1; kill <= kills; kill++) {
      await sleep(random.between(brief ? 1_000 : 2_000, brief ? 2_000 : 5_000))
      await node!.kill()
      await sleep(random.between(0, 1_000))
      await node!.start()
      await crowd.whole(returnMs)
      say(`killed and started ${kill} of ${kills} times, everybody is back`)
    }
    await sleep(1_000)
    stop()
    await crowd.answered()
    const live = crowd.members.flatMap(({ channels }) => channels).filter((name) => !isHistory(name)).length
    const told = crowd.figures.gaps['live session'] ?? 0
    stage.expect(
      told === live * kills,
      `${live} live subscriptions were told ${told} gaps in ${kills} deaths`,
    )
  },
}
