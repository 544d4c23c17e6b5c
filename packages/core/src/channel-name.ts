import { utf8Length } from './bytes.js'

/** Longest channel name, in bytes of UTF-8. */
export const maxChannelBytes = 200

/**
 * A session's own channel, which only its user's sessions share; every node maps it to that user. The one name that
 * the grammar does not allow and Everwire does.
 */
export const ownChannel = '@me'

// An empty part, a pattern, control characters, lone surrogates, and white space, of which U+FEFF is none in Unicode.
// Not \p{…}: React Native's engine has none of it.
// eslint-disable-next-line no-control-regex -- they are what is refused
const fault = /^[:@]|::|:$|[*\0-\x1f\x7f-\x9f\ud800-\udfff]|[^\S\ufeff]/u

/** Whether it is a channel name, as `assertChannelName` says why not. */
export const isChannelName = (name: string): boolean =>
  name === ownChannel ||
  (name.length <= maxChannelBytes &&
    utf8Length(name) <= maxChannelBytes &&
    name.includes(':') &&
    !fault.test(name) &&
    name.normalize() === name)
