import { startSquid } from '@everwire/testkit/load-balancer'
import type { Path, Target } from './path.js'

/**
 * Browsers are told of it, as in an office, and tunnel WebSockets through it by CONNECT; programs on Node know nothing of
 * proxies, so that for them it stands before the server, where it takes an upgrade for a plain request.
 */
export async function squidPath({ host, port }: Target): Promise<Path> {
  const forward = await startSquid()
  const before = await startSquid({ target: `${host}:${port}` })
  return {
    ways: { chromium: { url: `http://${host}:${port}`, proxy: forward.url }, node: { url: before.url } },
    async close() {
      await Promise.all([forward.stop(), before.stop()])
    },
  }
}

/** A forward proxy that lets CONNECT through to this server, as every one does for TLS. */
export async function squidTunnelPath({ host, port }: Target): Promise<Path> {
  const squid = await startSquid({ connectPorts: [port] })
  return {
    ways: { chromium: { url: `http://${host}:${port}`, proxy: squid.url } },
    close: () => squid.stop(),
  }
}
