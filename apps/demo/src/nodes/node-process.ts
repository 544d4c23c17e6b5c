import { fork, type ChildProcess } from 'node:child_process'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { EverwireError, type ErrorCode } from '@everwire/core'
import { prefix } from '../application.js'
import { loopback } from '../front.js'
import type { NodeCounts, NodeState, NodeStatus } from '../shared.js'
import { nodeArgument, type NodeMessage, type NodeSettings } from './messages.js'

/** The place of one node, through deaths and starts. */
export interface NodeProcess {
  readonly status: NodeStatus
  /** Where it listens; only while it says that it is ready. */
  readonly port: number | undefined
  readonly runs: boolean
  /** Since the first one at this place started. */
  readonly counts: NodeCounts
  /** Resolves once it is ready. Rejects, with its EverwireError if there is one, when it ends before. */
  start(): Promise<void>
  /** SIGKILL. Resolves once it is dead. */
  kill(): Promise<void>
  /** SIGTERM: it hands its sessions over, then ends. */
  drain(): void
  /** Drains it, and does not wait for long. Resolves once it is dead. */
  end(): Promise<void>
}

// The program itself, as source or built.
const here = fileURLToPath(import.meta.url)
const program = path.join(path.dirname(here), `../main${path.extname(here)}`)
const readyEveryMs = 250
const readyTimeoutMs = 1_000
const endMs = 4_000

const noCounts: NodeCounts = { handedOver: 0, relayed: 0, recovered: 0 }

export const add = (one: NodeCounts, other: NodeCounts): NodeCounts => ({
  handedOver: one.handedOver + other.handedOver,
  relayed: one.relayed + other.relayed,
  recovered: one.recovered + other.recovered,
})

/** One run of the program. */
interface Run {
  child: ChildProcess
  /** Settles when it is dead. */
  ended: Promise<void>
  id: string
  port: number | undefined
  isReady: boolean
  sessions: number
  counts: NodeCounts
  draining: boolean
  killed: boolean
}

export function createNodeProcess(place: number, settings: NodeSettings): NodeProcess {
  let run: Run | undefined
  /** How the last one ended, and its id. */
  let last: Pick<NodeStatus, 'id' | 'state'> = { id: '', state: 'starting' }
  let past = noCounts

  const stateOf = ({ draining, port, isReady }: Run): NodeState =>
    draining ? 'draining' : port === undefined ? 'starting' : isReady ? 'ready' : 'cut-off'

  /** As long as it runs: a node that does not answer, or says no, is not ready. */
  const watch = async (watched: Run, port: number, ready: () => void) => {
    const isOver = () => run !== watched
    while (!isOver()) {
      watched.isReady = await saysReady(port)
      if (watched.isReady) ready()
      await sleep(readyEveryMs)
    }
  }

  const launch = () =>
    new Promise<void>((resolve, reject) => {
      // The conditions and loaders of this process are handed on.
      const child = fork(program, [nodeArgument], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
      let failure = new Error(`node ${place} ended before it was ready`)
      const ended = new Promise<void>((resolve) => {
        const gone = (code: number | null) => {
          const { id, draining, killed } = started
          last = { id, state: killed ? 'killed' : draining && code === 0 ? 'drained' : 'failed' }
          past = add(past, started.counts)
          run = undefined
          reject(failure)
          resolve()
        }
        child.once('error', (error) => {
          failure = error
          if (child.pid === undefined) gone(null)
        })
        child.once('exit', gone)
      })
      const started: Run = {
        child,
        ended,
        id: '',
        port: undefined,
        isReady: false,
        sessions: 0,
        counts: noCounts,
        draining: false,
        killed: false,
      }
      run = started
      child.on('message', (message: NodeMessage) => {
        if (message.kind === 'failed') {
          const { code, message: text } = message
          failure = code ? new EverwireError(code as ErrorCode, text) : new Error(text)
        } else if (message.kind === 'draining') started.draining = true
        else if (message.kind === 'counted') {
          started.sessions = message.sessions
          started.counts = message.counts
        } else {
          started.id = message.nodeId
          started.port = message.port
          void watch(started, message.port, resolve)
        }
      })
      child.send(settings, (error) => error && child.kill('SIGKILL'))
    })

  const kill = async () => {
    if (!run) return
    run.killed = true
    run.child.kill('SIGKILL')
    await run.ended
  }
  const drain = () => {
    // A second signal would end it at once.
    if (!run || run.draining) return
    run.draining = true
    run.child.kill('SIGTERM')
  }

  return {
    get status() {
      if (!run) return { place, ...last, sessions: 0 }
      return { place, id: run.id, state: stateOf(run), sessions: run.sessions }
    },
    get port() {
      return run?.isReady ? run.port : undefined
    },
    get runs() {
      return run !== undefined
    },
    get counts() {
      return run ? add(past, run.counts) : past
    },
    start: launch,
    kill,
    drain,
    async end() {
      if (!run) return
      const { child, ended } = run
      drain()
      const late = setTimeout(() => child.kill('SIGKILL'), endMs)
      await ended
      clearTimeout(late)
    },
  }
}

/** What a load balancer asks. */
async function saysReady(port: number): Promise<boolean> {
  try {
    const response = await fetch(`http://${loopback}:${port}${prefix}/readyz`, {
      signal: AbortSignal.timeout(readyTimeoutMs),
    })
    await response.text()
    return response.ok
  } catch {
    return false
  }
}
