import { setTimeout as sleep } from 'node:timers/promises'
import { blockedMs, expectationsOf, twoSilentMs, worksMs } from '../../src/networks.js'
import { compressing, haproxyPath, heldBack, nginxPath, noUpgrade } from './paths/balancers.js'
import { faultyPath } from './paths/faulty.js'
import { iptablesObstacle, kernelDroppingPath, lossyPath } from './paths/iptables.js'
import { forAll } from './paths/path.js'
import { squidPath, squidTunnelPath } from './paths/squid.js'
import { droppingPath } from './paths/tcp.js'
import { programObstacle } from './program-obstacle.js'
import type { Scenario } from './scenario.js'
import { idleLinks } from './scenarios/idle-links.js'
import { offline } from './scenarios/offline.js'

const squidObstacle = () => programObstacle('squid', 'SQUID_PATH')

/** Breaks the path once, in the middle of the traffic. */
const disturbed: Scenario['play'] = async ({ path, hold }) => {
  await path.disturb!()
  await hold()
}

/** In the order in which they are played. */
export const scenarios: readonly Scenario[] = [
  {
    ...expectationsOf('open'),
    brief: true,
    open: async ({ host, port }) => ({ ways: forAll(`http://${host}:${port}`), close: async () => {} }),
  },
  {
    name: 'nginx-no-upgrade',
    does: 'nginx passes an upgrade on as a plain request',
    expected: 'sse',
    limitsMs: [blockedMs, worksMs],
    brief: true,
    open: (target) => nginxPath(target, [noUpgrade]),
  },
  {
    name: 'nginx-compressing',
    does: 'the same, and compresses and buffers event streams',
    expected: 'sse',
    limitsMs: [blockedMs, worksMs],
    open: (target) => nginxPath(target, [noUpgrade, ...compressing]),
  },
  {
    name: 'nginx-holding',
    does: 'the same, and ignores `X-Accel-Buffering`: event streams are held back, by GET and by POST',
    expected: 'long-polling',
    limitsMs: [blockedMs, worksMs],
    brief: true,
    open: (target) => nginxPath(target, [noUpgrade, ...heldBack]),
  },
  {
    name: 'nginx-idle-5s',
    does: 'nginx cuts what is silent for 5 s',
    expected: 'websocket',
    limitsMs: [worksMs, worksMs],
    mostFalls: 3,
    open: (target) =>
      nginxPath(target, [
        ['proxy_read_timeout 75s;', 'proxy_read_timeout 5s;'],
        ['proxy_send_timeout 75s;', 'proxy_send_timeout 5s;'],
      ]),
    play: idleLinks,
  },
  {
    name: 'haproxy-idle-5s',
    does: 'HAProxy cuts what is silent for 5 s',
    expected: 'websocket',
    limitsMs: [worksMs, worksMs],
    mostFalls: 3,
    open: (target) =>
      haproxyPath(target, [
        ['timeout client 75s', 'timeout client 5s'],
        ['timeout server 75s', 'timeout server 5s'],
        ['timeout tunnel 75s', 'timeout tunnel 5s'],
      ]),
    play: idleLinks,
  },
  {
    name: 'squid',
    does: 'Squid as it comes: it tunnels to port 443 only, and knows no upgrade',
    expected: 'sse',
    limitsMs: [blockedMs, worksMs],
    obstacle: squidObstacle,
    open: squidPath,
  },
  {
    name: 'squid-tunnel',
    does: 'Squid, tunnelling to the server as it does for TLS',
    expected: 'websocket',
    limitsMs: [worksMs, worksMs],
    clients: ['chromium'],
    obstacle: squidObstacle,
    open: squidTunnelPath,
  },
  {
    ...expectationsOf('silent-websocket'),
    brief: true,
    open: (target) => faultyPath(target, { websocket: { silent: true } }),
  },
  {
    name: 'silent-both',
    does: 'WebSockets open, and nothing passes; event streams are held back',
    expected: 'long-polling',
    limitsMs: [twoSilentMs, worksMs],
    open: (target) => faultyPath(target, { websocket: { silent: true }, sse: { holdBack: true } }),
  },
  {
    ...expectationsOf('holds-get'),
    open: (target) => faultyPath(target, { websocket: { refuse: 403 }, sseByGet: { holdBack: true } }),
  },
  {
    ...expectationsOf('kills-websocket'),
    brief: true,
    open: (target) => faultyPath(target, { websocket: { cutAfterMs: 200 } }),
    // Two kills with a backoff after each, and as long again for whatever flaps to flap.
    async play({ hold }) {
      await sleep(2_500)
      await hold()
    },
  },
  {
    name: 'dropped-2s',
    does: 'nothing passes for 2 s, and nothing ends',
    expected: 'websocket',
    limitsMs: [worksMs, worksMs],
    mostFalls: 1,
    open: (target) => droppingPath(target, 2_000),
    play: disturbed,
  },
  {
    name: 'dropped-2s-kernel',
    does: 'the same by the kernel, which drops every packet',
    expected: 'websocket',
    limitsMs: [worksMs, worksMs],
    mostFalls: 1,
    obstacle: iptablesObstacle,
    open: (target) => kernelDroppingPath(target, 2_000),
    play: disturbed,
  },
  {
    name: 'loss-30',
    does: 'the kernel drops 30 % of the packets, both ways',
    limitsMs: [30_000, 30_000],
    mostFalls: 3,
    mostSwitches: 4,
    poor: true,
    obstacle: iptablesObstacle,
    open: (target) => lossyPath(target, 0.3),
    async play({ hold }) {
      await hold()
      await hold()
    },
  },
  {
    name: 'offline',
    does: 'the browser is offline for 5 s',
    expected: 'websocket',
    limitsMs: [worksMs, worksMs],
    clients: ['chromium'],
    mostFalls: 1,
    isToldOfNetwork: true,
    open: async ({ host, port }) => ({ ways: forAll(`http://${host}:${port}`), close: async () => {} }),
    play: offline,
  },
]
