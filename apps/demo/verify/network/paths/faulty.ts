import { createFaultProxy, type Fault } from '@everwire/testkit'
import { forAll, type Path, type Target } from './path.js'

export interface Faults {
  websocket?: Fault
  /** Asked for by any method. */
  sse?: Fault
  sseByGet?: Fault
}

/** A proxy that treats WebSockets, or event streams, as bad ones do; everything else passes. */
export async function faultyPath(
  target: Target,
  { websocket = {}, sse = {}, sseByGet = sse }: Faults,
): Promise<Path> {
  const proxy = await createFaultProxy({
    target: { host: target.host, port: target.port },
    decide: ({ headers, method, url = '' }) => {
      if (headers.upgrade) return websocket
      if (!url.split('?')[0]!.endsWith('/sse')) return {}
      return method === 'GET' ? sseByGet : sse
    },
  })
  return { ways: forAll(`http://${proxy.host}:${proxy.port}`), close: () => proxy.close() }
}
