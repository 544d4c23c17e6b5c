/** `history:1` to `history:6`, say, and the same with `live`. */
export const channelNames = (count: number): { history: string[]; live: string[]; all: string[] } => {
  const named = (kind: string) => Array.from({ length: count }, (_, i) => `${kind}:${i + 1}`)
  const [history, live] = [named('history'), named('live')]
  return { history, live, all: [...history, ...live] }
}
