import { assertChannelName, encodeData, ownChannel, type Position } from '@everwire/core'
import type { Hub } from './channels/hub.js'
import type { ClientSession } from './client-session.js'
import { Lanes } from './lanes.js'
import type { Schemas } from './schemas.js'
import { isPromise } from './time-limit.js'

export interface PublishOptions {
  /** A session that must not get it, or its public id: usually the one that caused it. */
  except?: ClientSession | string
  /** Recognises a repeated publication within the dedup window, where the channel has history. */
  id?: string
}

/** Publishes as the server, in the order of the calls, however long their schemas take. */
export function createPublisher(hub: Hub, schemas: Schemas) {
  const lanes = new Lanes()
  return async (
    key: string,
    event: string,
    data?: unknown,
    { except, id }: PublishOptions = {},
  ): Promise<Position | undefined> => {
    const isOwn = key.startsWith('@user:')
    if (!isOwn) assertChannelName(key)
    const send = (value: unknown) => {
      const { data: payload, binary } = encodeData(value)
      const message = {
        event,
        data: payload,
        binary,
        except: typeof except === 'object' ? except.id : except,
      }
      return hub.publish(key, message, id === undefined ? undefined : { userId: undefined, id })
    }
    const checked = schemas.publication(isOwn ? ownChannel : key, event, data)
    if (!isPromise(checked) && !lanes.has(key)) return await send(checked)
    // Whoever waits in the lane for its turn has not looked at this yet.
    if (isPromise(checked)) checked.then(undefined, () => {})
    const { done } = await lanes.run(key, async () => ({ done: send(await checked) }))
    return await done
  }
}
