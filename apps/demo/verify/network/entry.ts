/** What a client or the server's publisher wrote down, with the time of the machine in milliseconds since 1970. */
export type Entry =
  | { at: number; kind: 'subscribed' }
  | { at: number; kind: 'publishing' | 'accepted' | 'refused' | 'received'; publisher: string; n: number }
  | { at: number; kind: 'gap'; reason: string }
  | { at: number; kind: 'state'; state: string; transport: string | undefined; why: string }
  | { at: number; kind: 'attempt'; transport: string; ok: boolean; reason: string }

export type EntryOf<Kind extends Entry['kind']> = Extract<Entry, { kind: Kind }>

export const only = <Kind extends Entry['kind']>(entries: readonly Entry[], kind: Kind): EntryOf<Kind>[] =>
  entries.filter((entry): entry is EntryOf<Kind> => entry.kind === kind)
