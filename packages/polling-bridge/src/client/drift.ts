import type { Clock } from '@everwire/core'
import type { Revision } from '../announcement.js'
import type { Publication } from './chain.js'

/** How long after an audit its finding may still be published. */
const driftMs = 5_000

/** Whether what an audit found is published after all; `found` hears what is not. */
export function createDriftWatch(clock: Clock, found: (revision: Revision) => void) {
  let suspect: Revision | undefined
  let cancel = () => {}
  const clear = () => {
    cancel()
    suspect = undefined
  }
  return {
    clear,
    suspect(revision: Revision) {
      clear()
      suspect = revision
      cancel = clock.after(driftMs, () => {
        suspect = undefined
        found(revision)
      })
    },
    published(publication: Publication) {
      if (suspect === undefined) return
      const { to } = publication
      const from = publication.event === 'invalidate' ? null : publication.from
      const rises = typeof to === 'number' && typeof suspect === 'number' && to >= suspect
      // One that does not say what became of it may be that one.
      if (to === null || to === suspect || from === suspect || rises) clear()
    },
  }
}
