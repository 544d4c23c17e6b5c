import type { NodeAction, NodesStatus, NodeState } from '../shared.js'
import type { NodeSettings } from './messages.js'
import { add, createNodeProcess, type NodeProcess } from './node-process.js'

/** All nodes, and whose turn it is. */
export interface Nodes {
  /** Resolves once all are ready; rejects when one is not to be had. */
  start(): Promise<void>
  /** Port of the node whose turn it is: of those that are ready, one after the other. */
  next(): number | undefined
  status(): NodesStatus
  /** What makes no sense now is told by a sentence, and not done. Resolves before a drain or a start is over. */
  act(place: number, action: NodeAction): Promise<string | undefined>
  /** Drains and ends all. */
  close(): Promise<void>
}

export interface NodesOptions extends NodeSettings {
  count: number
  /** A node that somebody asked for could not start. */
  failed(error: unknown): void
}

export function createNodes({ count, failed, ...settings }: NodesOptions): Nodes {
  const nodes = Array.from({ length: count }, (_, i) => createNodeProcess(i + 1, settings))
  let turn = 0
  let closed = false

  const refusals: Record<NodeAction, (node: NodeProcess) => string | undefined> = {
    kill: ({ status, runs }) =>
      runs ? undefined : `node ${status.place} is ${saidOf[status.state]} already`,
    drain({ status }) {
      if (status.state !== 'ready')
        return `node ${status.place} is ${saidOf[status.state]}: only a ready one drains`
      return nodes.filter((node) => node.status.state === 'ready').length > 1
        ? undefined
        : `node ${status.place} is the only one that is ready: nobody could take its sessions`
    },
    start: ({ status, runs }) =>
      runs ? `node ${status.place} runs already: it is ${saidOf[status.state]}` : undefined,
  }

  return {
    async start() {
      await Promise.all(nodes.map((node) => node.start()))
    },
    next() {
      const ready = nodes.filter(({ port }) => port !== undefined)
      return ready[turn++ % ready.length]?.port
    },
    status: () => ({
      nodes: nodes.map(({ status }) => status),
      totals: nodes.map(({ counts }) => counts).reduce(add),
    }),
    async act(place, action) {
      const node = nodes[place - 1]
      if (!node) return `there is no node ${place}: they are 1 to ${count}`
      if (closed) return 'the demo is closing'
      const refusal = refusals[action](node)
      if (refusal !== undefined) return refusal
      if (action === 'kill') await node.kill()
      else if (action === 'drain') node.drain()
      else
        node.start().catch((error: unknown) => {
          // Not of one that was told to end meanwhile.
          if (!closed && node.status.state === 'failed') failed(error)
        })
      return undefined
    },
    async close() {
      closed = true
      await Promise.all(nodes.map((node) => node.end()))
    },
  }
}

const saidOf: Record<NodeState, string> = {
  starting: 'starting',
  ready: 'ready',
  'cut-off': 'cut off from the others',
  draining: 'draining',
  drained: 'drained',
  killed: 'killed',
  failed: 'dead',
}
