import { channelNameFault, maxChannelBytes, type HistoryClass } from '@everwire/core'

/*
 * Which subject and stream a channel has. docs/nats.md says the same for those who publish without Everwire.
 *
 *   PREFIX.out.CHANNEL                      what nodes listen to, live or history
 *   PREFIX.in.CLASS.PARTITION.CHANNEL       what the streams store
 *   PREFIX.in.live.CHANNEL                  live publications of programs that are no node
 *   PREFIX.node.…                           nodes among themselves, and what NATS answers them
 *   PREFIX.publisher.inbox.…                what NATS answers createPublisher
 */

/** How a history class is kept, and fixed for as long as its streams live. */
export interface StoredClass extends HistoryClass {
  readonly partitions: number
  readonly replicas: number
  readonly storage: 'file' | 'memory'
  readonly dedupWindowMs: number
}

const escaped = /[.*!'()]/g
const percent = (character: string) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`

/**
 * The subject tokens of a channel: `:` becomes `.`, and all but `A-Z a-z 0-9 - _ ~` is percent-encoded as UTF-8
 * (RFC 3986), so that no name can hold a wildcard or another channel's subject.
 */
export const channelToSubject = (channel: string): string =>
  channel
    .split(':')
    .map((part) => encodeURIComponent(part).replace(escaped, percent))
    .join('.')

// A user's own channel has the user's id in it, escaped.
const isChannel = (name: string) =>
  name.startsWith('@user:') ? name.length <= 3 * maxChannelBytes : channelNameFault(name) === undefined

/** The channel of subject tokens; undefined when they are no channel in its one canonical form. */
export function subjectToChannel(subject: string): string | undefined {
  try {
    const channel = subject.split('.').map(decodeURIComponent).join(':')
    return channelToSubject(channel) === subject && isChannel(channel) ? channel : undefined
  } catch {
    return undefined
  }
}

/** Of a class: `s200-t3600000` keeps 200 publications for an hour. */
export const classId = ({ size, ttlMs }: HistoryClass, storage: StoredClass['storage']): string =>
  `s${size}-t${ttlMs}${storage === 'memory' ? '-m' : ''}`

/** 32-bit FNV-1a over the channel's UTF-8, modulo the number of partitions. */
export function partitionOf(channel: string, partitions: number): number {
  let hash = 0x811c9dc5
  for (const byte of new TextEncoder().encode(channel)) hash = Math.imul(hash ^ byte, 0x01000193)
  return (hash >>> 0) % partitions
}

const prefixPattern = /^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$/

export type Role = 'node' | 'publisher'

export interface Subjects {
  readonly prefix: string
  /** Name of the key-value bucket, and the beginning of every stream's. */
  readonly bucket: string
  out(channel: string): string
  liveIn(channel: string): string
  storedIn(id: string, partition: number, channel: string): string
  stream(id: string, partition: number): string
  /** What a stream captures, up to the channel. */
  captured(id: string, partition: number): string
  node(name: string): string
  /** Where answers come in: of its own for each role, or one could read along with the other. */
  inbox(role: Role): string
}

/** @throws TypeError when the prefix cannot be one */
export function createSubjects(prefix: string): Subjects {
  if (!prefixPattern.test(prefix))
    throw new TypeError(`nats: prefix must be tokens of letters, digits and - joined by dots: ${prefix}`)
  // No underscore can be in a prefix, so that two prefixes never give one name.
  const bucket = prefix.replaceAll('.', '_')
  return {
    prefix,
    bucket,
    out: (channel) => `${prefix}.out.${channelToSubject(channel)}`,
    liveIn: (channel) => `${prefix}.in.live.${channelToSubject(channel)}`,
    storedIn: (id, partition, channel) => `${prefix}.in.${id}.${partition}.${channelToSubject(channel)}`,
    stream: (id, partition) => `${bucket}_${id}_${partition}`,
    captured: (id, partition) => `${prefix}.in.${id}.${partition}.`,
    node: (name) => `${prefix}.node.${name}`,
    inbox: (role) => `${prefix}.${role}.inbox`,
  }
}
