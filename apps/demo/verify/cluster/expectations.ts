import type { Stage } from '../support/play/stage.js'

/** Nobody lost a session: whatever happened, each went on. */
export function expectSameSessions({ crowd, expect }: Stage): void {
  const lost = crowd.sessions() - crowd.members.length
  expect(lost === 0, `${lost} sessions were lost`)
}

/** Each live channel was told of lost sessions. To be asked when everyone is back. */
export function expectSessionGaps({ crowd, expect }: Stage, { once = false } = {}): void {
  const told = crowd.figures.gaps['live session'] ?? 0
  const { least, most } = crowd.sessionGaps()
  expect(
    told <= most && told >= (once ? most : least),
    `live channels were told ${told} lost sessions, and it should be ${once ? '' : `${least} to `}${most}`,
  )
}

/** Publications that were not accepted within the time. */
export const lateAnswers = ({ crowd }: Stage, withinMs: number): number =>
  crowd.figures.answers.filter(({ ms, accepted }) => !accepted || ms > withinMs).length
