import { EverwireError, fromUtf8, toBase64, utf8, type Message } from '@everwire/core'

const maxEventLength = 100
const maxIdLength = 100

/** @throws EverwireError `bad-payload` */
export function assertPublicationNames(event: string, id: string | undefined): void {
  if (event.length === 0 || event.length > maxEventLength)
    throw new EverwireError('bad-payload', `an event name has 1 to ${maxEventLength} characters`)
  if (id && id.length > maxIdLength)
    throw new EverwireError('bad-payload', `a publication id has at most ${maxIdLength} characters`)
}

/** A publication as JSON text: `{ offset?, event, userId?, data | binary }`. Its own payload is passed on as it is. */
export function publicationJson(
  { event, data, binary, userId }: Message,
  offset: number | string | undefined,
): string {
  const bytes = typeof data === 'string' ? utf8(data) : data
  const body = bytes && (binary ? `,"binary":"${toBase64(bytes)}"` : `,"data":${fromUtf8(bytes)}`)
  const place = offset === undefined ? '' : `"offset":${JSON.stringify(offset)},`
  const user = userId === undefined ? '' : `,"userId":${JSON.stringify(userId)}`
  return `{${place}"event":${JSON.stringify(event)}${user}${body ?? ''}}`
}
