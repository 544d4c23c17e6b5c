import { EverwireError, type Cancel } from '@everwire/core'
import type { Subscription } from '@nats-io/transport-node'
import type { Connection } from './connection.js'
import type { NatsSettings } from './options.js'
import { natsPermissions, permissionsText } from './permissions.js'
import type { Subjects } from './subjects.js'

/**
 * Publishes to itself on each kind of subject that a node uses: what is not allowed must show at the start, not in the
 * night when it is first needed.
 * @throws EverwireError `forbidden` with the permissions that a node needs
 */
export async function probePermissions(
  connection: Connection,
  subjects: Subjects,
  { clock, connectTimeoutMs, prefix, manageStreams }: NatsSettings,
  nodeId: string,
): Promise<void> {
  const channel = `probe:${nodeId}`
  const missing = new Set([subjects.out(channel), subjects.liveIn(channel), subjects.node(`probe.${nodeId}`)])
  const subscriptions: Subscription[] = []
  let cancel: Cancel = () => {}
  await new Promise<void>((resolve) => {
    for (const subject of missing)
      subscriptions.push(
        connection.subscribe(subject, () => {
          missing.delete(subject)
          if (missing.size === 0) resolve()
        }),
      )
    for (const subject of missing) connection.nats.publish(subject)
    cancel = clock.after(connectTimeoutMs, resolve)
    // What a server refuses, it refuses before it answers the ping that follows.
    connection.flush().then(() => clock.after(0, resolve), resolve)
  })
  cancel()
  for (const subscription of subscriptions) subscription.unsubscribe()
  if (missing.size === 0) return
  const needed = permissionsText(natsPermissions({ prefix, manageStreams }).node)
  throw new EverwireError(
    'forbidden',
    `NATS does not let this node use ${[...missing].join(', ')}. A node needs\n${needed}\n`,
  )
}
