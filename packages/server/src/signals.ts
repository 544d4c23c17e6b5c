import type { FastifyInstance } from 'fastify'
import type { DrainTimes } from './cluster/drain.js'

export interface SignalOptions extends Partial<DrainTimes> {
  /** @default SIGTERM and SIGINT */
  signals?: readonly NodeJS.Signals[]
}

/**
 * Drains the node and closes the application when the process is asked to end, and then ends it: with exit code 0, or
 * 1 when closing failed. A second signal ends it at once. Drain times are the server's options unless they are here.
 * @returns its own undo
 */
export function drainOnSignals(
  app: FastifyInstance,
  { signals = ['SIGTERM', 'SIGINT'], ...times }: SignalOptions = {},
): () => void {
  let stopping = false
  const stop = () => {
    if (stopping) process.exit(1)
    stopping = true
    app.everwire
      .drain(times)
      .then(() => app.close())
      .then(
        () => process.exit(0),
        (error: unknown) => {
          app.log.error({ err: error }, 'everwire: the application could not be closed')
          process.exit(1)
        },
      )
  }
  for (const signal of signals) process.on(signal, stop)
  return () => {
    for (const signal of signals) process.off(signal, stop)
  }
}
