import type { Client, Off } from '@everwire/client'
import type { Position } from '@everwire/core'
import { controlChannel, isControl, keptSettings, type Control } from '../change.js'
import { isUpTo } from './chain.js'

/** What an operator said last, as far as it was heeded. */
export interface ControlMemory {
  position?: Position | undefined
}

/** Hears what operators set, from what they set last on; where nobody sets anything, nothing is heard. */
export function followControl(client: Client, memory: ControlMemory, retreat: () => void): Off {
  const channel = client.channel(controlChannel)
  let left = false
  const heard = (data: Control, position: Position | undefined) => {
    if (left) return
    const isKnown = memory.position !== undefined && isUpTo(position, memory.position)
    if (!isKnown) memory.position = position
    const { mode, rollout } = data
    // A roll-out may mean this page or not: the next answer says so, once. Other modes hold for everyone: an answer
    // that says otherwise is of a node that has not heard it.
    if ((mode !== undefined && mode !== 'live') || (!isKnown && rollout !== undefined && rollout < 100))
      retreat()
  }
  const read = () => {
    channel.history({ limit: keptSettings }).then(
      ({ publications }) => {
        const last = publications.filter(({ data, meta }) => meta.event === 'set' && isControl(data)).at(-1)
        if (last) heard(last.data as Control, last.meta.position)
      },
      // The next subscription reads again.
      () => {},
    )
  }
  const undo = [
    channel.on('set', (data, meta) => {
      if (isControl(data)) heard(data, meta.position)
    }),
    channel.on('subscribed', read),
    channel.on('gap', read),
  ]
  const isOurs = !channel.subscribed && !channel.position
  if (channel.subscribed) read()
  // Servers without the switch have no such channel.
  else channel.subscribe().catch(() => {})
  return () => {
    left = true
    for (const off of undo) off()
    if (isOurs) channel.unsubscribe().catch(() => {})
  }
}
