import { setTimeout as sleep } from 'node:timers/promises'
import { lostLinks } from '../judge.js'
import type { Play } from '../scenario.js'

/** Long enough for the first cuts of a path that cuts after 5 s, and for what is learnt from them. */
const learnMs = 25_000
const quietMs = 20_000
/** What was learnt is remembered: the second visit need not learn it again. */
const rememberedMs = 12_000

/** Silence, in which links are cut; then as much again, in which no link may fall any more. */
export async function idleLinks({ number, visits, publish, hold, expect, say }: Play): Promise<void> {
  await hold()
  await publish(false)
  const falls = () => Promise.all(visits.map(async ({ states }) => lostLinks(await states())))
  if (number === 1) await sleep(learnMs)
  const learnt = await falls()
  const restMs = number === 1 ? quietMs : rememberedMs
  await sleep(restMs)
  const after = await falls()
  visits.forEach(({ kind }, i) => {
    const later = after[i]! - learnt[i]!
    say(`${kind}: visit ${number}: ${learnt[i]} links cut, then ${later} in ${restMs / 1_000} s of silence`)
    expect(later === 0, `${kind}: links are still cut in a quiet time of ${restMs / 1_000} s`)
  })
  await publish(true)
  await hold()
}
