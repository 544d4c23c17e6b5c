import type {
  ChannelName,
  Contract,
  DataOf,
  ErrorCode,
  EventName,
  MethodInput,
  MethodName,
  MethodOutput,
  OptionalArgument,
  Position,
  PublishDataOf,
} from '@everwire/core'
import type { Channel, Gap, PublicationMeta, PublishOptions } from './channel.js'
import type { Client } from './client.js'
import type { Off } from './emitter.js'

// Types only: at run time it is the same client. What they promise is checked by the server, where it has the contract.

/** A `Client` whose channels, events and methods are those of a contract. */
export interface TypedClient<C extends Contract> extends Omit<Client, 'channel' | 'request' | 'method'> {
  /** The channel of that name. @throws EverwireError `invalid-channel` */
  channel<Name extends ChannelName<C>>(name: Name): TypedChannel<C, Name>
  /** Asks the server. Rejects with its error, `bad-payload`, `timeout`, or `outcome-unknown` when the session was lost. */
  request<Name extends MethodName<C>>(
    method: Name,
    ...input: OptionalArgument<MethodInput<C, Name>['given'], [options?: { timeoutMs?: number }]>
  ): Promise<MethodOutput<C, Name>['taken']>
  /** Answers requests of the server. Returns its own undo. */
  method<Name extends MethodName<C, 'clientMethods'>>(
    name: Name,
    method: (
      input: MethodInput<C, Name, 'clientMethods'>['taken'],
    ) =>
      | MethodOutput<C, Name, 'clientMethods'>['given']
      | Promise<MethodOutput<C, Name, 'clientMethods'>['given']>,
  ): Off
}

/** A `Channel` that knows its events. */
export interface TypedChannel<C extends Contract, Name extends string> extends Omit<
  Channel,
  'on' | 'publish'
> {
  /** Hears an event of the channel, every one (`*`), a `gap`, `subscribed`, or `unsubscribed`. Returns its own undo. */
  on<Event extends EventName<C, Name>>(
    event: Event,
    listener: (data: DataOf<C, Name, Event>, meta: PublicationMeta) => void,
  ): Off
  on(event: 'gap', listener: (gap: Gap) => void): Off
  on(event: 'subscribed', listener: () => void): Off
  on(event: 'unsubscribed', listener: (info: { code: ErrorCode }) => void): Off
  on(event: '*', listener: (data: unknown, meta: PublicationMeta) => void): Off
  /** As `Channel.publish`; rejects with `bad-payload` what the server's schema refuses. */
  publish<Event extends EventName<C, Name>>(
    event: Event,
    ...data: OptionalArgument<PublishDataOf<C, Name, Event>, [options?: PublishOptions]>
  ): Promise<Partial<Position>>
}
