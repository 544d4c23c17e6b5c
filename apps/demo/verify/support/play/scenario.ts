import type { GapRule, Stage } from './stage.js'

export interface Scenario {
  readonly name: string
  /** Belongs to the short slice. */
  readonly brief: boolean
  /** What gaps mean here; see StageOptions. */
  readonly gaps: Readonly<Record<string, GapRule>>
  play(stage: Stage): Promise<void>
}
