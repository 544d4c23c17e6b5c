import { setTimeout as sleep } from 'node:timers/promises'
import {
  codeInfo,
  encodeData,
  encodeFrame,
  EverwireError,
  randomBase32,
  type EncodedFrame,
  type ErrorCode,
  type Position,
} from '@everwire/core'
import { transportNames, transports, type Crowd } from '../support/play/crowd.js'
import type { NodeProcess } from '../support/play/node-process.js'
import type { Random } from '../support/random.js'
import { until } from '../support/until.js'
import { openRawLink, type RawLink } from './raw-link.js'

export interface RaceOptions {
  /** Of the publisher. */
  name: string
  crowd: Crowd
  nodes: readonly NodeProcess[]
  random: Random
  /** What is published into, in turn. */
  channels: readonly string[]
  publications: number
}

/** How it ended: the link of the higher number has the session, or, of two with the same number, one of them. */
export type RaceOutcome = 'newer' | 'one of two equals'

/** A link that wants the session, again and again while it is put off. */
interface Contender {
  readonly link: RawLink
  /** Why it gave up. */
  readonly gaveUp: string | undefined
}

const againMs = 150
const decidedMs = 20_000

/**
 * Opens a session by hand on one node, publishes, and attaches it twice at once on the two others, where each link sends
 * the same numbered frames again. Rejects when not exactly one of the two has the session in the end.
 */
export async function race({
  name,
  crowd,
  nodes,
  random,
  channels,
  publications,
}: RaceOptions): Promise<RaceOutcome> {
  const [first, ...others] = random.shuffled(nodes) as [NodeProcess, NodeProcess, NodeProcess]
  const answers = createAnswers()
  const frames: EncodedFrame[] = []
  for (let number = 1; number <= publications; number++)
    void crowd.publish(name, channels[number % channels.length]!, (channel, event, data) => {
      frames.push(encodeFrame(['pub', channel, event, `${name}.${number}`], encodeData(data).data))
      return answers.of(number)
    })

  const open = (node: NodeProcess, gen: number, place: string, session?: string) =>
    openRawLink({
      url: node.url,
      transport: transports[random.pick(transportNames)](),
      ...(session === undefined ? {} : { session }),
      gen,
      place,
      cursor: 0,
      acked: 0,
      answered: answers.came,
    })

  const opener = open(first, 1, randomBase32(8))
  await opener.settled()
  if (!opener.welcome) throw new Error(`a new session was refused: ${opener.ended}`)
  const { session } = opener.welcome
  void opener.send(1, frames.slice(0, publications / 3))
  if (random.next() < 0.5) opener.close()

  const equal = random.next() < 0.3
  const gens = equal ? [2, 2] : random.shuffled([2, 3])
  const contenders = await Promise.all(
    others.map((node, i) => {
      const place = randomBase32(8)
      return contend(() => open(node, gens[i]!, place, session), frames)
    }),
  )
  const having = () => contenders.filter(({ link }) => link.attached)
  try {
    await until('one link of two', () => having().length === 1, decidedMs)
    await until('an answer to each publication', () => answers.open() === 0, decidedMs)
    const winners = having().map((one) => gens[contenders.indexOf(one)])
    if (winners.length !== 1) throw new Error(`${winners.length} links have the session`)
    if (!equal && winners[0] !== Math.max(...gens)) throw new Error('the older link has the session')
    return equal ? 'one of two equals' : 'newer'
  } catch (error) {
    const states = contenders.map(
      ({ link, gaveUp }, i) => `gen ${gens[i]} ${link.attached ? 'attached' : (gaveUp ?? link.ended)}`,
    )
    answers.giveUp()
    throw new Error(`${(error as Error).message}: ${states.join(', ')}`, { cause: error })
  } finally {
    for (const { link } of contenders) link.close()
    opener.close()
  }
}

/** Attaches, and sends what the server has not got; comes back while it is only put off. */
async function contend(open: () => RawLink, frames: readonly EncodedFrame[]): Promise<Contender> {
  const deadline = performance.now() + decidedMs
  for (;;) {
    const link = open()
    await link.settled()
    if (link.welcome) {
      const { applied } = link.welcome
      void link.send(applied + 1, frames.slice(applied))
      return { link, gaveUp: undefined }
    }
    const code = link.ended!
    const putOff = codeInfo(code).recovery === 'retry' && code !== 'stale' && code !== 'superseded'
    if (!putOff || performance.now() > deadline) return { link, gaveUp: code }
    await sleep(againMs)
  }
}

interface Answers {
  of(number: number): Promise<Partial<Position>>
  came(number: number, answer: { position?: Position; code?: string }): void
  open(): number
  giveUp(): void
}

/** The answer to each operation, whichever link brings it; an answer that comes again changes nothing. */
function createAnswers(): Answers {
  const waiting = new Map<
    number,
    { resolve(position: Partial<Position>): void; reject(error: Error): void }
  >()
  const settle = (number: number, code?: string, position: Partial<Position> = {}) => {
    const one = waiting.get(number)
    waiting.delete(number)
    if (code === undefined) one?.resolve(position)
    else one?.reject(new EverwireError(code as ErrorCode))
  }
  return {
    of: (number) => new Promise((resolve, reject) => void waiting.set(number, { resolve, reject })),
    came: (number, { position, code }) => settle(number, code, position),
    open: () => waiting.size,
    giveUp() {
      for (const number of [...waiting.keys()]) settle(number, 'outcome-unknown')
    },
  }
}
