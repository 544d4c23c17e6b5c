import type { IncomingMessage, ServerResponse } from 'node:http'
import { createFaultProxy, type Fault } from '@everwire/testkit'
import type { FaultName, PathFaults } from './path-faults.js'
import { visitorOf, type Visitors } from './visitors.js'

interface Address {
  host: string
  port: number
}

export interface PathProxyOptions {
  /** Who gets the next request; asked once for each. Without an answer it is refused with 503. */
  target(): Address | undefined
  /** Answers what does not stand under the prefix, instead of the target. */
  answer?: (request: IncomingMessage, response: ServerResponse) => void
  /** Path that everything of Everwire stands under; the rest always gets through, else nobody could repair the way. */
  prefix: string
  visitors: Pick<Visitors, 'faults'>
  port: number
  host: string
}

export interface PathProxy {
  readonly port: number
  /** Cuts what a visitor has open of these kinds; the cable is everything. @returns how many */
  cut(visitor: string, names: readonly FaultName[]): number
  close(): Promise<void>
}

/** The network path, which treats each visitor as that one asked for. Rejects when the port is taken. */
export async function createPathProxy({
  target,
  answer,
  prefix,
  visitors,
  port,
  host,
}: PathProxyOptions): Promise<PathProxy> {
  const nameOf = ({ url = '' }: IncomingMessage): FaultName | undefined => {
    if (!url.startsWith(`${prefix}/`)) return undefined
    const [route] = url.slice(prefix.length + 1).split('?')
    return route === 'websocket' || route === 'sse' ? route : 'cable'
  }
  let next: Address = { host, port }
  const proxy = await createFaultProxy({
    // Read once for each request, right after what was decided for it.
    target: {
      get host() {
        return next.host
      },
      get port() {
        return next.port
      },
    },
    port,
    host,
    handle(request, response) {
      if (!answer || nameOf(request)) return false
      answer(request, response)
      return true
    },
    decide(request) {
      const name = nameOf(request)
      const faults = visitors.faults(visitorOf(request.headers.cookie))
      const fault = name ? faultOf(faults, name, request.method) : {}
      // What ends on the path takes nobody's turn.
      if (fault.drop || fault.refuse !== undefined) return fault
      const chosen = target()
      if (!chosen) return { refuse: 503 }
      next = chosen
      return fault
    },
  })
  return {
    port: proxy.port,
    cut: (visitor, names) =>
      proxy.cut(({ request }) => {
        const name = nameOf(request)
        if (name === undefined || visitorOf(request.headers.cookie) !== visitor) return false
        return names.includes('cable') || names.includes(name)
      }),
    close: () => proxy.close(),
  }
}

const killAfterMs = 200
const idleMs = 5_000
const slowMs = 150

function faultOf(faults: PathFaults, name: FaultName, method: string | undefined): Fault {
  if (faults.cable === 'cut') return { drop: true }
  const cable: Fault =
    faults.cable === 'idle' ? { cutIdleMs: idleMs } : faults.cable === 'slow' ? { delayMs: slowMs } : {}
  const fault = faults[name]
  if (fault === 'blocked') return { refuse: 403 }
  if (fault === 'silent') return { ...cable, silent: true }
  if (fault === 'killed') return { ...cable, cutAfterMs: killAfterMs }
  if (fault === 'held' || (fault === 'held-get' && method === 'GET')) return { ...cable, holdBack: true }
  return cable
}
