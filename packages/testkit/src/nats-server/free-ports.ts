import { createServer } from 'node:net'

// Below the ports that systems hand to outgoing connections, or one of those could sit on a port while its server
// is down.
const lowest = 15_000
const highest = 32_000

/** Ports of 127.0.0.1 that are free now. Nobody holds them: whoever starts on one must be ready to find it taken. */
export async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>()
  while (ports.size < count) {
    const port = lowest + Math.floor(Math.random() * (highest - lowest))
    if (!ports.has(port) && (await isFree(port))) ports.add(port)
  }
  return [...ports]
}

const isFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
