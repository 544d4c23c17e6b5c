export { nats } from './nats.js'
export type { NatsOptions } from './options.js'
export {
  natsPermissions,
  permissionsText,
  type NatsPermissions,
  type PermissionOptions,
} from './permissions.js'
export { createPublisher, type Publisher } from './publisher.js'
export { channelToSubject, subjectToChannel } from './subjects.js'
