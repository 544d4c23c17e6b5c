import { spawnSync } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { forAll, type Path, type Target } from './path.js'
import { startTcpRelay } from './tcp.js'

const program = () => process.env.IPTABLES_PATH || 'iptables'
const run = (args: readonly string[]) => spawnSync(program(), ['-w', ...args], { encoding: 'utf8' })

const randomly = (share: number) => [
  ...['-m', 'statistic', '--mode', 'random'],
  ...['--probability', String(share)],
]

/** Packets of a TCP port that the kernel drops, both ways. */
const rulesOf = (port: number, share: number) =>
  ['--dport', '--sport'].map((side) => [
    ...['INPUT', '-i', 'lo', '-p', 'tcp', side, String(port)],
    ...(share < 1 ? randomly(share) : []),
    ...['-j', 'DROP'],
  ])

/** Why the kernel cannot be asked to drop packets here, if it cannot. */
export function iptablesObstacle(): string | undefined {
  if (process.platform !== 'linux') return 'iptables is of Linux'
  if (process.getuid?.() !== 0) return 'iptables needs root'
  // Nothing speaks on port 1.
  const [rule] = rulesOf(1, 0.5)
  const { error, status, stderr } = run(['-I', ...rule!])
  if (error || status !== 0) return `iptables does not work here: ${error?.message ?? stderr.trim()}`
  run(['-D', ...rule!])
  return undefined
}

/** Drops packets of this port until the undo is called; also when this process ends before. */
function drop(port: number, share: number): () => void {
  const rules = rulesOf(port, share)
  for (const rule of rules) {
    const { status, stderr } = run(['-I', ...rule])
    if (status !== 0) throw new Error(`iptables: ${stderr}`)
  }
  const undo = () => {
    process.off('exit', undo)
    for (const rule of rules.splice(0)) run(['-D', ...rule])
  }
  process.on('exit', undo)
  return undo
}

/** A network that drops everything for a time, in the kernel. */
export async function kernelDroppingPath(target: Target, dropMs: number): Promise<Path> {
  const relay = await startTcpRelay(target)
  return {
    ways: forAll(relay.url),
    async disturb() {
      const undo = drop(relay.port, 1)
      await sleep(dropMs)
      undo()
    },
    close: () => relay.close(),
  }
}

/** A network that always loses this share of the packets, both ways. */
export async function lossyPath(target: Target, share: number): Promise<Path> {
  const relay = await startTcpRelay(target)
  const undo = drop(relay.port, share)
  return {
    ways: forAll(relay.url),
    async close() {
      undo()
      await relay.close()
    },
  }
}
