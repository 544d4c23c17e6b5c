import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout } from 'node:timers/promises'

export type Question = 'cpu' | 'memory'

const calmCollections = 5
const collectionMs = 30

const answers: Record<Question, () => number | Promise<number>> = {
  cpu() {
    const { user, system } = process.cpuUsage()
    return user + system
  },
  async memory() {
    // What a collection frees lets go of more, and pages go back to the system a while later: until it falls no more.
    let least = Number.POSITIVE_INFINITY
    for (let calm = 0; calm < calmCollections;) {
      globalThis.gc!()
      await setTimeout(collectionMs)
      const rss = process.memoryUsage.rss()
      calm = rss < least ? 0 : calm + 1
      least = Math.min(least, rss)
    }
    return least
  },
}

/** Tells the load the port of a server that listens, then what it asks. Ends with it. */
export function answerParent(server: Server): void {
  process.on('message', (question: Question) => {
    void Promise.resolve(answers[question]()).then((answer) => process.send!(answer))
  })
  process.on('disconnect', () => process.exit())
  process.send!((server.address() as AddressInfo).port)
}
