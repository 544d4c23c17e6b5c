import { EverwireError, type Cancel } from '@everwire/core'
import { PermissionViolationError, type Subscription } from '@nats-io/transport-node'
import type { Connection } from './connection.js'
import type { NatsSettings } from './options.js'
import { natsPermissions, permissionsText } from './permissions.js'
import { elsewhere } from './stream-up.js'
import { classId, type StoredClass, type Subjects } from './subjects.js'

/*
 * What is not allowed must show at the start, not in the night when it is first needed. What a server refuses, it
 * refuses before it answers the ping that follows.
 */

/**
 * Publishes to itself on each kind of subject that nodes use among themselves.
 * @throws EverwireError `forbidden` with the permissions that a node needs
 */
export async function probePermissions(
  connection: Connection,
  subjects: Subjects,
  settings: NatsSettings,
  nodeId: string,
): Promise<void> {
  const { clock, connectTimeoutMs } = settings
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
    connection.flush().then(() => clock.after(0, resolve), resolve)
  })
  cancel()
  for (const subscription of subscriptions) subscription.unsubscribe()
  if (missing.size > 0) throw forbidden([...missing], settings)
}

/**
 * Asks for everything that a node will ask of the streams of a class and of the bucket, in a way that changes nothing.
 * @throws EverwireError `forbidden` with the permissions that a node needs
 */
export async function probeHistory(
  connection: Connection,
  { bucket, stream, captured }: Subjects,
  settings: NatsSettings,
  stored: StoredClass,
): Promise<void> {
  const id = classId(stored, stored.storage)
  const perStream = (index: number) => {
    const name = stream(id, index)
    const actions = [
      `STREAM.MSG.GET.${name}`,
      `CONSUMER.CREATE.${name}`,
      `CONSUMER.MSG.NEXT.${name}.probe`,
      `CONSUMER.DELETE.${name}.probe`,
      ...(settings.manageStreams ? [`STREAM.CREATE.${name}`] : []),
    ]
    return [`${captured(id, index)}probe`, ...actions.map((action) => `$JS.API.${action}`)]
  }
  const all = [
    `$KV.${bucket}.probe`,
    ...Array.from({ length: stored.partitions }, (_, index) => perStream(index)).flat(),
  ]
  const missing: string[] = []
  for (const subject of all)
    connection.nats
      // No JSON, so that nothing is done.
      .request(subject, 'probe', { timeout: 1_000, headers: elsewhere() })
      .catch((error: unknown) => void (refusedSubject(error) && missing.push(subject)))
  await connection.flush()
  await connection.sleep(0)
  if (missing.length > 0) throw forbidden(missing, settings)
}

/** The subject that the servers did not let this user use, when that is why something failed. */
export function refusedSubject(error: unknown): string | undefined {
  if (error instanceof PermissionViolationError) return error.subject
  return error instanceof Error && error.cause !== undefined ? refusedSubject(error.cause) : undefined
}

/** The error of a node that may not do what it must. */
export function forbidden(
  missing: readonly string[],
  { prefix, manageStreams }: NatsSettings,
  cause?: unknown,
) {
  const needed = permissionsText(natsPermissions({ prefix, manageStreams }).node)
  return new EverwireError(
    'forbidden',
    `NATS does not let this node use ${missing.join(', ')}. A node needs\n${needed}\n`,
    { cause },
  )
}
