import { setTimeout as sleep } from 'node:timers/promises'
import { pollUntil } from '../../support/until.js'
import type { Play } from '../scenario.js'

const offlineMs = 5_000
const backMs = 5_000

/** The browser loses its network, and gets it back. */
export async function offline({ visits, hold, expect, say }: Play): Promise<void> {
  await hold()
  for (const { visit } of visits) await visit.offline!(true)
  await sleep(offlineMs)
  const back = performance.now()
  for (const { kind, visit } of visits) {
    const before = (await visit.look()).received.server ?? 0
    await visit.offline!(false)
    const came = async () => ((await visit.look()).received.server ?? 0) > before
    const inTime = await pollUntil('messages again', came, backMs).then(
      () => true,
      () => false,
    )
    say(`${kind}: messages again ${(performance.now() - back).toFixed(0)} ms after it was online`)
    expect(inTime, `${kind}: no message within ${backMs} ms of being online again`)
  }
  await hold()
}
