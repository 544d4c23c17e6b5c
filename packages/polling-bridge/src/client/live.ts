import { EverwireError, type Position } from '@everwire/core'
import { isUpTo, readPublication, type Publication } from './chain.js'
import type { Lease } from './clients.js'

export interface LiveHandler {
  /** Where what is shown came from. */
  position(): Position | undefined
  /** Whether it is live may be another now. */
  changed(): void
  publication(publication: Publication): void
  /** Publications are missing. */
  missed(): void
  /** It will not become live again by itself. */
  refused(error: EverwireError): void
  /** The user is another: what is shown was not meant for this one. */
  identity(): void
}

/** The subscription to a resource's channel. */
export interface Live {
  readonly channel: string
  /** What is published comes, or has come. */
  readonly on: boolean
  /** The server has accepted it once. */
  readonly accepted: boolean
  /** Whoever shared the subscription ended it, of which nobody is told. */
  readonly lost: boolean
  leave(): void
}

/** Subscribes from where the handler stands, once there is a client. */
export function goLive(name: string, leasing: Promise<Lease>, handler: LiveHandler): Live {
  let left = false
  let accepted = false
  let leave = () => {}
  let isOn = () => false
  let isLost = () => false

  const end = () => {
    if (left) return false
    left = true
    leave()
    return true
  }
  const refuse = (error: unknown) => {
    if (!end()) return
    handler.refused(
      error instanceof EverwireError ? error : new EverwireError('internal', 'no client', { cause: error }),
    )
  }

  const begin = (lease: Lease) => {
    const { client } = lease
    if (left) return lease.release()
    // A name that is none throws: then there is nothing to undo but the lease.
    leave = () => lease.release()
    const channel = client.channel(name)
    let user = client.userId
    const isAnother = () => {
      const { userId } = client
      if (user === undefined) user = userId
      if (userId === user) return false
      if (end()) handler.identity()
      return true
    }
    const accept = () => {
      if (left || isAnother()) return
      const from = handler.position()
      // Whoever subscribed before us is further: what lies between came to nobody who listened for us.
      const isFirst = !accepted
      accepted = true
      if (isFirst && from && !isUpTo(channel.position, from)) handler.missed()
      handler.changed()
    }
    const undo = [
      channel.on('*', (data, { event, position }) => {
        if (isAnother()) return
        const publication = readPublication(event, data, position)
        if (publication) handler.publication(publication)
      }),
      channel.on('gap', () => handler.missed()),
      channel.on('subscribed', accept),
      channel.on('unsubscribed', ({ code }) => refuse(new EverwireError(code))),
      client.on('state', ({ state, error }) => {
        if (state === 'closed') refuse(error ?? new EverwireError('closed'))
        else if (!isAnother()) handler.changed()
      }),
      client.on('stale', () => handler.changed()),
    ]
    isOn = () => accepted && channel.subscribed && client.state === 'connected' && !client.stale
    isLost = () => accepted && !channel.subscribed && !channel.position
    const hold = lease.hold(name)
    leave = () => {
      for (const off of undo) off()
      hold.release()
      lease.release()
    }
    if (channel.subscribed) return accept()
    const position = handler.position()
    // Its acceptance is heard as an event, before what is published after it.
    channel.subscribe(position ? { position } : {}).catch(refuse)
  }

  leasing.then(begin).catch(refuse)

  return {
    channel: name,
    get on() {
      return !left && isOn()
    },
    get accepted() {
      return accepted
    },
    get lost() {
      return isLost()
    },
    leave: end,
  }
}
