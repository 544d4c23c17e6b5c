import type { Client, Off } from '@everwire/client'
import { EverwireError, type Clock } from '@everwire/core'
import type { Announcement } from '../announcement.js'
import { followControl, type ControlMemory } from './control.js'
import { valueOf, type Headers } from './request.js'

export interface ClientSource {
  client?: Client | (() => Client | Promise<Client>) | undefined
  getToken?: (() => string | undefined | Promise<string | undefined>) | undefined
  headers?: Headers | undefined
  fetch?: typeof globalThis.fetch | undefined
  clock: Clock
}

/** A client in use. */
export interface Lease {
  readonly client: Client
  /** Subscribes to a channel, unless somebody does already; the undo leaves it to others. */
  hold(channel: string): Hold
  release(): void
}

interface Hold {
  /** Somebody else reads it: what came before is not for us. */
  readonly joined: boolean
  release(): void
}

export interface Clients {
  /** The client for an announcement in an answer of that address. */
  lease(announcement: Announcement, answerUrl: string, retreat: () => void): Promise<Lease>
  close(): void
}

/** How long a connection of our own outlives its last use. */
const lingerMs = 60_000

interface Entry {
  client: Promise<Client>
  readonly own: boolean
  /** Who goes back to polling when an operator says so. */
  readonly users: Set<() => void>
  readonly holds: Map<string, { users: number; readonly joined: boolean }>
  readonly memory: ControlMemory
  control?: Off | undefined
  cancel?: Off | undefined
}

export function createClients(source: ClientSource): Clients {
  const { clock } = source
  const entries = new Map<string, Entry>()
  let closed = false

  const drop = (name: string, entry: Entry) => {
    entry.control?.()
    entry.control = undefined
    if (!entry.own) return
    if (entries.get(name) === entry) entries.delete(name)
    entry.client.then(
      (client) => client.close(),
      () => {},
    )
  }

  const open = (name: string): Entry => {
    const known = entries.get(name)
    if (known) return known
    const { client: given } = source
    const client = given
      ? Promise.resolve().then(() => (typeof given === 'function' ? given() : given))
      : ownClient(name, source)
    const entry: Entry = { client, own: !given, users: new Set(), holds: new Map(), memory: {} }
    entries.set(name, entry)
    client.then(
      (made) => {
        // One that has ended by itself is no use to anybody: the next attempt makes another.
        const off = made.on('state', ({ state }) => {
          if (state !== 'closed') return
          off()
          if (entries.get(name) === entry) entries.delete(name)
        })
      },
      () => entries.delete(name),
    )
    return entry
  }

  return {
    async lease(announcement, answerUrl, retreat) {
      const name = source.client ? '' : prefixOf(announcement.href, answerUrl)
      const entry = open(name)
      const client = await entry.client
      if (closed || client.state === 'closed') {
        if (entries.get(name) === entry) entries.delete(name)
        throw new EverwireError('closed', 'the client is closed')
      }
      entry.cancel?.()
      // A function of its own, so that each user counts.
      const user = () => retreat()
      entry.users.add(user)
      entry.control ??= followControl(client, entry.memory, () => {
        for (const one of [...entry.users]) one()
      })
      return {
        client,
        hold: (channel) => hold(client, entry, channel),
        release() {
          if (!entry.users.delete(user) || entry.users.size) return
          entry.control?.()
          entry.control = undefined
          if (entry.own && entries.get(name) === entry)
            entry.cancel = clock.after(lingerMs, () => drop(name, entry))
        },
      }
    },
    close() {
      closed = true
      for (const [name, entry] of entries) {
        entry.cancel?.()
        drop(name, entry)
      }
      entries.clear()
    },
  }
}

function hold(client: Client, { holds }: Entry, name: string): Hold {
  const channel = client.channel(name)
  let held = holds.get(name)
  const joined = held !== undefined || channel.subscribed || channel.position !== undefined
  // What the application reads itself is not ended by us.
  if (!held) holds.set(name, (held = { users: 0, joined }))
  const own = held
  own.users++
  let released = false
  return {
    joined,
    release() {
      if (released) return
      released = true
      if (--own.users) return
      if (holds.get(name) === own) holds.delete(name)
      if (!own.joined) channel.unsubscribe().catch(() => {})
    },
  }
}

/** What the announced address stands under. */
function prefixOf(href: string, answerUrl: string): string {
  const { origin, pathname } = new URL(href, answerUrl)
  const end = pathname.lastIndexOf('/channels/')
  // Tokens go there: only to where the answer came from.
  if (end < 0 || origin !== new URL(answerUrl).origin)
    throw new EverwireError('bad-payload', `no channel of ${answerUrl}: ${href}`)
  return origin + pathname.slice(0, end)
}

async function ownClient(url: string, { getToken, headers, fetch, clock }: ClientSource): Promise<Client> {
  const { createClient } = await import('everwire/client')
  const isFunction = typeof headers === 'function'
  return createClient({
    url,
    clock,
    // Who polls with a bearer token connects with it.
    getToken:
      getToken ?? (async () => bearer(new globalThis.Headers(await valueOf(headers)).get('authorization'))),
    ...(headers && !isFunction && { headers }),
    ...((fetch || isFunction) && {
      fetch: async (input, init) =>
        await (fetch ?? globalThis.fetch)(input, {
          ...init,
          headers: { ...(isFunction && (await headers())), ...(init?.headers as Record<string, string>) },
        }),
    }),
  })
}

const bearer = (authorization: string | null) => /^bearer +(.+)$/i.exec(authorization ?? '')?.[1]
