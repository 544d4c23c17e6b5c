import { assertChannelName } from '@everwire/core'

/** Channels of the bridge's own. */
const ownNamespace = 'polling-bridge:'

/**
 * A channel function may be made of what the client sends: that must not lead to the operators' switch.
 * @throws EverwireError `invalid-channel`
 * @throws TypeError for a channel of the bridge itself
 */
export function assertResourceChannel(channel: string): void {
  assertChannelName(channel)
  if (channel.startsWith(ownNamespace))
    throw new TypeError(`${channel} is a channel of the bridge itself, not of a resource`)
}
