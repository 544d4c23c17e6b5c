import { createHaproxy, type Haproxy } from './load-balancer/haproxy.js'
import { createNginx } from './load-balancer/nginx.js'
import type { LoadBalancerOptions } from './load-balancer/options.js'
import { createSquid, type SquidOptions } from './load-balancer/squid.js'
import { PortTaken } from './child-program.js'
import type { ProxyProgram } from './load-balancer/program.js'

export type { Haproxy, ServerState } from './load-balancer/haproxy.js'
export type { LoadBalancerOptions } from './load-balancer/options.js'
export type { SquidOptions } from './load-balancer/squid.js'
export type { ProxyProgram as LoadBalancer } from './load-balancer/program.js'

const mostAttempts = 5

/**
 * Starts the real HAProxy by a configuration file as it stands in the documentation; only addresses are other ones. The
 * program is HAPROXY_PATH, else `haproxy` of the PATH or of /usr/sbin. Resolves once it listens; rejects with what it
 * wrote when it does not start.
 */
export const startHaproxy = (options: LoadBalancerOptions): Promise<Haproxy> =>
  started(() => createHaproxy(options))

/** The same with nginx, NGINX_PATH. */
export const startNginx = (options: LoadBalancerOptions): Promise<ProxyProgram> =>
  started(() => createNginx(options))

/** Starts the real Squid, SQUID_PATH: the proxy of many an office, or in front of one server. */
export const startSquid = (options: SquidOptions = {}): Promise<ProxyProgram> =>
  started(() => createSquid(options))

async function started<Program extends ProxyProgram>(create: () => Promise<Program>): Promise<Program> {
  for (let attempt = 1; ; attempt++) {
    const program = await create()
    try {
      await program.start()
      return program
    } catch (error) {
      await program.stop()
      if (!(error instanceof PortTaken) || attempt === mostAttempts) throw error
    }
  }
}
