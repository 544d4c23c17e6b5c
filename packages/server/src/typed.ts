import type {
  ChannelName,
  ChannelPattern,
  Contract,
  DataOf,
  EventName,
  FittingName,
  MethodInput,
  MethodName,
  MethodOutput,
  OptionalArgument,
  Position,
  PublishDataOf,
} from '@everwire/core'
import type { ChannelOptions } from './channels/rules.js'
import type { ClientSession } from './client-session.js'
import type { MethodContext } from './methods.js'
import type { Everwire } from './plugin.js'
import type { PublishOptions } from './publisher.js'

/** A session that knows the methods of its client. */
export interface TypedSession<C extends Contract> extends Omit<ClientSession, 'request'> {
  /** As `ClientSession.request`; rejects with `bad-payload` what the client must not answer. */
  request<Name extends MethodName<C, 'clientMethods'>>(
    method: Name,
    ...input: OptionalArgument<
      MethodInput<C, Name, 'clientMethods'>['given'],
      [options?: { timeoutMs?: number }]
    >
  ): Promise<MethodOutput<C, Name, 'clientMethods'>['taken']>
}

type Attempts<C extends Contract, Pattern extends string> = Pattern extends string
  ? { [Event in EventName<C, Pattern>]: { event: Event; data: DataOf<C, Pattern, Event> } }[EventName<
      C,
      Pattern
    >]
  : never

/** `ChannelOptions` whose hook knows what clients may publish. */
export interface TypedChannelOptions<C extends Contract, Pattern extends string> extends Omit<
  ChannelOptions,
  'publish'
> {
  publish?:
    | boolean
    | ((
        session: ClientSession,
        channel: string,
        attempt: Attempts<C, Extract<ChannelPattern<C>, FittingName<Pattern>>>,
      ) => boolean | Promise<boolean>)
}

/** `Everwire` with the channels, events and methods of a contract. */
export interface TypedEverwire<C extends Contract> extends Omit<
  Everwire,
  'channel' | 'method' | 'publish' | 'publishToUser' | 'sessions' | 'session'
> {
  channel<Pattern extends ChannelPattern<C>>(pattern: Pattern, options: TypedChannelOptions<C, Pattern>): void
  method<Name extends MethodName<C>>(
    name: Name,
    method: (
      session: TypedSession<C>,
      input: MethodInput<C, Name>['taken'],
      context: MethodContext,
    ) => MethodOutput<C, Name>['given'] | Promise<MethodOutput<C, Name>['given']>,
  ): void
  publish<Name extends ChannelName<C>, Event extends EventName<C, Name>>(
    channel: Name,
    event: Event,
    ...data: OptionalArgument<PublishDataOf<C, Name, Event>, [options?: PublishOptions]>
  ): Promise<Position | undefined>
  publishToUser<Event extends EventName<C, '@me'>>(
    userId: string,
    event: Event,
    ...data: OptionalArgument<PublishDataOf<C, '@me', Event>, [options?: PublishOptions]>
  ): Promise<Position | undefined>
  sessions(userId?: string): TypedSession<C>[]
  session(id: string): TypedSession<C> | undefined
}

/**
 * The same object, with the types of the contract that the plugin was registered with.
 * @throws TypeError when that was another one: nothing would check what the types promise
 */
export function typed<C extends Contract>(everwire: Everwire, contract: C): TypedEverwire<C> {
  if (everwire.contract !== contract)
    throw new TypeError('typed: register the plugin with this contract, as its option contract')
  return everwire as unknown as TypedEverwire<C>
}
