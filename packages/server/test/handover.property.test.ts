import fc from 'fast-check'
import { test } from 'tap'
import { play, schedule, type Weather } from './cluster-play.js'

// EVERWIRE_SEED replays a failure, EVERWIRE_RUNS searches longer.
const seed = process.env.EVERWIRE_SEED ? Number(process.env.EVERWIRE_SEED) : undefined
const numRuns = Number(process.env.EVERWIRE_RUNS ?? 50)

const weathers: Record<Weather, string> = {
  clean: 'nothing is lost, no gap is told, and every operation has its answer',
  lossy: 'messages between nodes are lost, doubled and late: at worst a session is lost, and said to be',
  breaking: 'nodes crash and are cut off: at worst a session is lost, and gaps are told',
}

for (const [weather, what] of Object.entries(weathers))
  test(`${weather} weather: ${what}`, async (t) => {
    const result = await fc.check(
      fc.asyncProperty(fc.nat(), schedule, async (random, steps) => {
        const violations = await play(weather as Weather, random, steps)
        if (violations.length > 0) throw new Error(violations.slice(0, 5).join('\n'))
      }),
      // A slow machine tries less.
      {
        numRuns,
        interruptAfterTimeLimit: Number(process.env.EVERWIRE_LIMIT_MS ?? 15_000),
        ...(seed === undefined ? {} : { seed }),
      },
    )
    t.comment(`seed ${result.seed}`)
    t.notOk(
      result.failed,
      result.failed ? `${String(result.errorInstance)}\n${fc.defaultReportMessage(result)}` : 'holds',
    )
  })
