import { defineContract, type, type StandardSchema } from '@everwire/core'
import t from 'tap'
import { createClient, type Client, type TypedClient } from '../src/index.js'

// The lines marked @ts-expect-error are the test: `npm run typecheck` fails where one of them compiles.

/** Text on the wire, a number for who gets it. */
type Numeric = StandardSchema<string, number>

const contract = defineContract({
  channels: {
    'chat:*': { message: type<{ text: string }>(), typing: type<undefined>() },
    'chat:staff:*': { message: type<{ text: string; secret: boolean }>() },
    'chat:lobby': { welcome: type<string>() },
    'ticker:*': { tick: numericSchema() },
    '@me': { note: type<string>() },
  },
  methods: {
    'room.create': { input: type<{ name: string }>(), output: type<{ id: number }>() },
    'room.list': { output: type<string[]>() },
    'room.price': { input: numericSchema(), output: numericSchema() },
  },
  clientMethods: { confirm: { input: type<{ question: string }>(), output: type<boolean>() } },
})

function numericSchema(): Numeric {
  return {
    '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value: Number(value) }) },
  }
}

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const same = <A, B>(_: Same<A, B>): void => {}
const is =
  <A>() =>
  <B>(_value: B, _: Same<A, B>): void => {}

/** Never called: it need only compile. */
export async function typedClient(client: TypedClient<typeof contract>, room: string): Promise<void> {
  const chat = client.channel('chat:x')
  chat.on('message', (data, meta) => {
    same<typeof data, { text: string }>(true)
    same<typeof meta.channel, string>(true)
    // @ts-expect-error an event has the fields of its schema
    void data.secret
  })
  chat.on('gap', ({ reason, position }) => void [reason, position?.offset])
  chat.on('unsubscribed', ({ code }) => void code)
  chat.on('*', (data, meta) => same<typeof data, unknown>(true) ?? meta)
  // @ts-expect-error no such event
  chat.on('mesage', () => {})
  await chat.publish('message', { text: 'hi' })
  await chat.publish('message', { text: 'hi' }, { id: '1' })
  await chat.publish('typing')
  await chat.publish('typing', undefined, { timeoutMs: 1 })
  // @ts-expect-error a payload of another shape
  await chat.publish('message', { txt: 'hi' })
  // @ts-expect-error a payload is missing
  await chat.publish('message')
  // @ts-expect-error an event of another channel
  await chat.publish('tick', '1')
  void chat.subscribe().then(() => chat.unsubscribe())

  const dynamic = client.channel(`chat:${room}`)
  dynamic.on('message', (data) => same<typeof data, { text: string }>(true))
  // @ts-expect-error a name that may be any
  client.channel(room)
  // @ts-expect-error no pattern fits
  client.channel('room:1')

  // The longer pattern holds, and the exact name before any.
  await client.channel('chat:staff:1').publish('message', { text: 'hi', secret: true })
  // @ts-expect-error the shorter pattern does not hold
  await client.channel('chat:staff:1').publish('message', { text: 'hi' })
  await client.channel('chat:lobby').publish('welcome', 'hi')
  // @ts-expect-error the pattern does not hold
  await client.channel('chat:lobby').publish('message', { text: 'hi' })
  client.channel('@me').on('note', (data) => same<typeof data, string>(true))

  // Who publishes gives what the schema takes; who subscribes gets what it makes of that.
  await client.channel('ticker:btc').publish('tick', '61250')
  // @ts-expect-error that is what it makes
  await client.channel('ticker:btc').publish('tick', 61_250)
  client.channel('ticker:btc').on('tick', (data) => same<typeof data, number>(true))

  const made = await client.request('room.create', { name: 'x' })
  is<{ id: number }>()(made, true)
  await client.request('room.create', { name: 'x' }, { timeoutMs: 5 })
  // @ts-expect-error no such method
  await client.request('room.crate', { name: 'x' })
  // @ts-expect-error an input of another shape
  await client.request('room.create', { title: 'x' })
  // @ts-expect-error the input is missing
  await client.request('room.create')
  const list = await client.request('room.list')
  is<string[]>()(list, true)
  const price = await client.request('room.price', '1')
  is<number>()(price, true)

  client.method('confirm', ({ question }) => question.length > 0)
  client.method('confirm', async () => true)
  // @ts-expect-error an answer of another type
  client.method('confirm', () => 'yes')
  // @ts-expect-error no such method
  client.method('deny', () => true)
}

/** Never called: a contract may leave things away, and without one all is as it was. */
export async function others(client: Client): Promise<void> {
  const bare = null as unknown as TypedClient<Record<never, never>>
  // @ts-expect-error it has no channels
  bare.channel('chat:x')
  // @ts-expect-error it has no methods
  await bare.request('x')
  client.channel('any:thing').on('event', (data) => same<typeof data, unknown>(true))
  await client.channel('any:thing').publish('event', { any: 1 })
  same<Awaited<ReturnType<typeof client.request>>, unknown>(true)
}

t.test('a client with a contract is the client itself', async (t) => {
  t.strictSame(defineContract(contract), contract)
  const options = { url: 'http://127.0.0.1:1', transports: [{ name: 'none' } as never] }
  const typed = createClient<typeof contract>(options)
  const plain = createClient(options)
  same<typeof plain, Client>(true)
  same<typeof typed, TypedClient<typeof contract>>(true)
  t.same(Object.keys(typed), Object.keys(plain))
  t.equal(typed.channel('chat:x'), typed.channel('chat:x') as unknown)
  t.throws(() => typed.channel('chat:'), { code: 'invalid-channel' })
})
