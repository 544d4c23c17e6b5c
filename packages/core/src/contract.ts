/**
 * The part of Standard Schema v1 that is used here (https://standardschema.dev): what zod, valibot, arktype and others
 * have under `~standard`.
 */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>
    readonly types?: { readonly input: Input; readonly output: Output } | undefined
  }
}

/** The value as the schema makes it, or why it is refused. */
export type SchemaResult<Output> =
  { readonly value: Output; readonly issues?: undefined } | { readonly issues: readonly SchemaIssue[] }

export interface SchemaIssue {
  readonly message: string
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
}

/** What an event, input or output may be before its schema has seen it: what publishers and callers give. */
export type SchemaInput<Schema extends StandardSchema> = NonNullable<Schema['~standard']['types']>['input']
/** What it is after: what subscribers and methods get. */
export type SchemaOutput<Schema extends StandardSchema> = NonNullable<Schema['~standard']['types']>['output']

/** Events by name. */
export type EventSchemas = Readonly<Record<string, StandardSchema>>
/** A method without `input` takes anything, one without `output` answers anything. */
export interface MethodSchemas {
  readonly input?: StandardSchema
  readonly output?: StandardSchema
}

/** What both ends agree on: channels by name or pattern (`chat:*`) with their events, and methods by name. */
export interface Contract {
  readonly channels?: Readonly<Record<string, EventSchemas>>
  /** What the server answers. */
  readonly methods?: Readonly<Record<string, MethodSchemas>>
  /** What the client answers. */
  readonly clientMethods?: Readonly<Record<string, MethodSchemas>>
}

/** The contract as it is; both ends take their types from it. */
export function defineContract<C extends Contract>(contract: C): C {
  return contract
}

/** A schema that knows a type and checks nothing, for contracts without a schema library. */
export function type<T>(): StandardSchema<T> {
  return { '~standard': { version: 1, vendor: 'everwire', validate: (value) => ({ value: value as T }) } }
}

type Channels<C extends Contract> = C extends { channels: infer All extends Record<string, EventSchemas> }
  ? All
  : Record<never, EventSchemas>
/** Names and patterns of channels as a contract has them. */
export type ChannelPattern<C extends Contract> = keyof Channels<C> & string
/** `chat:*` as the type of all names that fit it. */
export type FittingName<P extends string> = P extends `${infer Prefix}*` ? `${Prefix}${string}` : P

/** Names of the channels of a contract. */
export type ChannelName<C extends Contract> = FittingName<ChannelPattern<C>>

type Fits<Name extends string, P extends string> = P extends `${string}*`
  ? Name extends FittingName<P>
    ? P
    : never
  : never
/** Of patterns that fit the same name each is the start of all longer ones. */
type Longest<P extends string, All extends string = P> = P extends `${infer Prefix}*`
  ? [Extract<Exclude<All, P>, `${Prefix}${string}`>] extends [never]
    ? P
    : never
  : never

/** Which entry holds for a channel: its own name, else the longest pattern. */
export type PatternOf<C extends Contract, Name extends string> =
  Name extends ChannelPattern<C> ? Name : Longest<Fits<Name, ChannelPattern<C>>>

/** The events of a channel, each with its schema. */
export type EventsOf<C extends Contract, Name extends string> = Channels<C>[PatternOf<C, Name> &
  ChannelPattern<C>]
export type EventName<C extends Contract, Name extends string> = [EventsOf<C, Name>] extends [never]
  ? never
  : keyof EventsOf<C, Name> & string

type SchemaOf<C extends Contract, Name extends string, Event extends string> =
  EventsOf<C, Name> extends Record<Event, infer Schema extends StandardSchema> ? Schema : never

/** What subscribers get. */
export type DataOf<C extends Contract, Name extends string, Event extends string> = SchemaOutput<
  SchemaOf<C, Name, Event>
>
/** What publishers give. */
export type PublishDataOf<C extends Contract, Name extends string, Event extends string> = SchemaInput<
  SchemaOf<C, Name, Event>
>

type Methods<C extends Contract, Side extends 'methods' | 'clientMethods'> =
  C extends Record<Side, infer All extends Record<string, MethodSchemas>> ? All : Record<never, MethodSchemas>

/** Names of methods: of the server unless `Side` says otherwise. */
export type MethodName<
  C extends Contract,
  Side extends 'methods' | 'clientMethods' = 'methods',
> = keyof Methods<C, Side> & string

type Part<
  C extends Contract,
  Name extends string,
  Side extends 'methods' | 'clientMethods',
  Which extends 'input' | 'output',
> =
  Methods<C, Side> extends Record<Name, Record<Which, infer Schema extends StandardSchema>>
    ? Schema
    : StandardSchema

/** A method's input: as callers give it, and as the method gets it. */
export type MethodInput<
  C extends Contract,
  Name extends string,
  Side extends 'methods' | 'clientMethods' = 'methods',
> = {
  given: SchemaInput<Part<C, Name, Side, 'input'>>
  taken: SchemaOutput<Part<C, Name, Side, 'input'>>
}
/** A method's output: as the method gives it, and as callers get it. */
export type MethodOutput<
  C extends Contract,
  Name extends string,
  Side extends 'methods' | 'clientMethods' = 'methods',
> = {
  given: SchemaInput<Part<C, Name, Side, 'output'>>
  taken: SchemaOutput<Part<C, Name, Side, 'output'>>
}

/** An argument that may be left away where it may be undefined. */
export type OptionalArgument<Value, More extends unknown[]> = undefined extends Value
  ? [value?: Value, ...More]
  : [value: Value, ...More]
