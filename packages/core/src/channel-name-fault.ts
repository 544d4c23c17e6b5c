import { utf8Length } from './bytes.js'
import { maxChannelBytes, ownChannel } from './channel-name.js'
import { EverwireError } from './errors.js'

// Control characters, every kind of white space, and lone surrogates, which UTF-8 cannot carry.
const forbidden = /[\p{Cc}\p{White_Space}\p{Cs}]/u

/**
 * Why `name` is no channel name, or undefined when it is one: `namespace:rest`, 1–200 bytes of UTF-8 in NFC, no
 * control characters, no spaces, no empty part between `:`. Names that start with `@` belong to Everwire.
 */
export function channelNameFault(name: string): string | undefined {
  if (name.length > maxChannelBytes || utf8Length(name) > maxChannelBytes) return 'is longer than 200 bytes'
  if (forbidden.test(name)) return 'has a space, a control character or half a character'
  if (name.normalize('NFC') !== name) return 'is not in Unicode NFC'
  const parts = name.split(':')
  if (parts.length < 2) return 'has no namespace: write namespace:rest'
  if (parts.includes('')) return 'has an empty part'
  if (name.includes('*')) return 'has a *: patterns are for the server configuration only'
  return undefined
}

/** @throws EverwireError `invalid-channel`, saying what is wrong with the name */
export function assertChannelName(name: string): void {
  if (name === ownChannel) return
  const fault = name.startsWith('@') ? 'starts with @, which is reserved' : channelNameFault(name)
  if (fault)
    throw new EverwireError(
      'invalid-channel',
      `the channel name ${JSON.stringify(name.slice(0, 80))} ${fault}`,
    )
}
