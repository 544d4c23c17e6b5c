import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Shown } from './judge.js'

/** What a process of clients is told to do. */
export interface CrowdOrder {
  /** `fetch`: setInterval and fetch, as the page of step 0; `poll`: the poller, as from step 2 on. */
  kind: 'fetch' | 'poll'
  url: string
  clients: number
  /** Each client is one of these. */
  users: readonly string[]
  intervalMs: number
  /** Number of the first. @default 0 */
  from?: number
}

export interface Crowd {
  /** How many say so of their orders. */
  count(state: string): number
  stop(): Promise<void>
}

const program = fileURLToPath(new URL('crowd-process.ts', import.meta.url))

/** Starts clients in a process of their own; they begin within one interval. */
export function startCrowd(order: CrowdOrder, shown: (shown: Shown) => void): Crowd {
  const child = fork(program, [], {
    execArgv: ['--conditions=@everwire/source', '--import', 'tsx'],
    env: { ...process.env, NODE_OPTIONS: '' },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const ended = once(child, 'exit')
  const states = new Map<number, string>()
  child.on('message', (message: Shown | { client: number; state: string }) => {
    if ('state' in message) states.set(message.client, message.state)
    else shown(message)
  })
  child.send(order)
  return {
    count: (state) => [...states.values()].filter((one) => one === state).length,
    async stop() {
      child.kill()
      await ended
    },
  }
}
