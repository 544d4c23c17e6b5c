export const payloadBytes = 128

/** 128 bytes of JSON with a number in it that is easy to find. */
export const payloadOf = (n: number): string => {
  const start = `{"n":"${String(n).padStart(9, '0')}","pad":"`
  return `${start}${'x'.repeat(payloadBytes - start.length - 2)}"}`
}

/** The number of a payload that begins at `start`. */
export const numberOf = (payload: Uint8Array | string, start = 0): number => {
  const first = start + 6
  if (typeof payload === 'string') return Number(payload.slice(first, first + 9))
  let n = 0
  for (let at = first; at < first + 9; at++) n = n * 10 + payload[at]! - 48
  return n
}
