import WebSocket from 'ws'
import { prefix } from '../server.js'
import { createRecorder } from '../recorder.js'
import type { Visitor, Way } from './client.js'

/** A program on Node with the WebSocket of ws, which keeps what its client remembers from visit to visit. */
export function createNodeVisitor({ url }: Way): Visitor {
  const remembered = new Map<string, string>()
  return {
    kind: 'node',
    forget: async () => remembered.clear(),
    async visit(options) {
      const recorder = createRecorder({
        ...options,
        url: url + prefix,
        WebSocket,
        memory: {
          getItem: (key) => remembered.get(key) ?? null,
          setItem: (key, value) => void remembered.set(key, value),
        },
      })
      return {
        connect: async () => recorder.connect(),
        publish: async (on) => recorder.publish(on),
        look: async () => recorder.look(),
        take: async () => recorder.take(),
        explain: async () => recorder.explain(),
        close: async () => recorder.close(),
      }
    },
    close: async () => {},
  }
}
