import { setTimeout as sleep } from 'node:timers/promises'
import { until } from '../../support/until.js'
import { channelNames } from '../../support/play/channels.js'
import { isHistory } from '../../support/play/node-settings.js'
import { deleteStreams } from '../../support/play/streams.js'
import type { Scenario } from '../../support/play/scenario.js'

const toldMs = 15_000

/** An operator deletes the streams of the class. The nodes make them anew, and everybody is told. */
export const streamsDeleted: Scenario = {
  name: 'streams-deleted',
  brief: true,
  gaps: { 'history epoch': 'fine' },
  async play(stage) {
    const { crowd, random, brief, say } = stage
    const deletions = brief ? 1 : 3
    const { all } = channelNames(6)
    const nats = await stage.nats()
    const nodes = await stage.nodes([nats.urls, nats.urls])
    await stage.gather({ members: 18, nodes, channels: all, reading: 4 })
    const moves = crowd.moves()
    const readers = crowd.members.flatMap(({ channels }) => channels).filter(isHistory).length
    const told = () => crowd.figures.gaps['history epoch'] ?? 0
    const stop = crowd.publishSteadily(100, all, random.fork('publications'))
    for (let deletion = 1; deletion <= deletions; deletion++) {
      await sleep(random.between(2_000, 3_000))
      const count = await deleteStreams(nats.url)
      await until('a gap told to everyone', () => told() >= readers * deletion, toldMs)
      say(`${count} streams deleted, ${readers} readers of history told`)
    }
    await sleep(2_000)
    stop()
    await crowd.answered()
    stage.expect(
      told() === readers * deletions,
      `${readers} readers were told ${told()} gaps in ${deletions} deletions`,
    )
    stage.expect(crowd.moves() === moves, `clients took ${crowd.moves() - moves} other links or sessions`)
  },
}
