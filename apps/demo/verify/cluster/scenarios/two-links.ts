import { listed } from '../../support/play/figures.js'
import type { Scenario } from '../../support/play/scenario.js'
import { enough, openCluster } from '../cluster.js'
import { expectSameSessions } from '../expectations.js'
import { race } from '../race.js'

const races = 60
const atOnce = 3
const publications = 6
const channels = ['history:race', 'live:race']

/** Two links of one session are attached at once on two nodes: one has it in the end, and nothing is done twice. */
export const twoLinks: Scenario = {
  name: 'two-links',
  brief: false,
  gaps: {},
  async play(stage) {
    const { crowd, random, brief, say, expect } = stage
    const cluster = await openCluster(stage)
    for (const { name, url } of cluster.nodes) {
      const observer = await crowd.join(`observer of ${name}`, url, 'websocket')
      await Promise.all(channels.map((channel) => observer.subscribe(channel)))
    }
    const load = cluster.load()
    const outcomes: Record<string, number> = {}
    const taken = random.fork('races')
    let begun = 0
    const raceOn = async () => {
      while (begun < (brief ? races / 6 : races)) {
        const name = `race-${++begun}`
        const { nodes } = cluster
        try {
          const outcome = await race({
            name,
            crowd,
            nodes,
            random: taken.fork(name),
            channels,
            publications,
          })
          outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
        } catch (error) {
          expect(false, `${name}: ${(error as Error).message}`)
        }
      }
    }
    await Promise.all(Array.from({ length: atOnce }, raceOn))
    say(`${begun} races: ${listed(outcomes)}`)
    await load.reach(enough(stage))
    await load.stop()
    expectSameSessions(stage)
  },
}
