import type { EverwireError } from '@everwire/core'
import type { Carrier, CarrierHandler } from '../carrier.js'
import type { TabMessage } from './messages.js'

/** What a tab is in its group: the leader, or one that follows. */
export interface Role extends Omit<Carrier, 'connect' | 'close'> {
  /** Another tab said something. */
  receive(message: TabMessage): void
  /** Becomes nothing; what was carried is lost. Safe to call twice. */
  leave(regroup?: boolean): void
}

/** Who hears of a role. */
export interface RoleHandler extends Omit<CarrierHandler, 'state'> {
  /** Something that the carrier shows has changed. */
  changed(error?: EverwireError): void
  /** The group is not that of this tab's user (any more). */
  regroup(): void
}
