import { defineContract, type Contract } from '@everwire/core'
import { type as ark } from 'arktype'
import t from 'tap'
import * as v from 'valibot'
import * as z from 'zod'
import { typed, type TypedEverwire } from '../src/index.js'
import { startNode } from './memory-transport.js'

// Real libraries fit, at run time and for the compiler: the lines marked @ts-expect-error are part of the test.

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const same = <A, B>(_: Same<A, B>): void => {}
const is =
  <A>() =>
  <B>(_value: B, _: Same<A, B>): void => {}

const withZod = defineContract({
  channels: {
    'chat:*': {
      message: z.object({ text: z.string().trim().min(1), tags: z.array(z.string()).default([]) }),
      typing: z.undefined(),
    },
    '@me': { note: z.string() },
  },
  methods: { length: { input: z.string().transform((text) => text.length), output: z.number() } },
  clientMethods: { confirm: { input: z.string(), output: z.boolean() } },
})
const withValibot = defineContract({
  channels: {
    'chat:*': {
      message: v.object({
        text: v.pipe(v.string(), v.trim(), v.minLength(1)),
        tags: v.optional(v.array(v.string()), []),
      }),
      typing: v.undefined(),
    },
  },
  methods: {
    length: {
      input: v.pipe(
        v.string(),
        v.transform((text) => text.length),
      ),
      output: v.number(),
    },
  },
})
const withArk = defineContract({
  channels: {
    'chat:*': {
      message: ark({ text: ark('string.trim').to('string > 0'), tags: ark('string[]').default(() => []) }),
      typing: ark('undefined'),
    },
  },
  methods: { length: { input: ark('string').pipe((text) => text.length), output: ark('number') } },
})

for (const [name, contract] of Object.entries({ zod: withZod, valibot: withValibot, arktype: withArk }))
  t.test(`${name} checks and transforms`, async (t) => {
    const { app, clock, connect } = await startNode(t, { contract: contract as Contract })
    const everwire = typed(app.everwire, contract as typeof withZod)
    everwire.channel('chat:*', { history: {}, subscribe: true, publish: true })
    everwire.method('length', (_session, input) => input)
    const peer = await connect()
    await peer.ask(['sub', 'chat:1'])
    const code = async (event: string, payload?: string) => {
      const { header } = await peer.ask(['pub', 'chat:1', event, `${event}${payload}`], payload)
      return header[0] === 'ack' ? 'ack' : header.slice(2)
    }
    t.equal(await code('message', '{"text":" hi ","tags":["a"]}'), 'ack')
    t.equal(await code('message', '{"text":"as it is","tags":[]}'), 'ack')
    t.equal(await code('typing'), 'ack')
    t.match(await code('message', '{"text":7}'), ['bad-payload', /^message in chat:1: text: /])
    t.match(await code('message', '{"text":"  "}'), ['bad-payload', /text/])
    t.match(await code('typing', '1'), ['bad-payload'])
    await everwire.publish('chat:1', 'message', { text: 'server ' })
    await t.rejects(everwire.publish('chat:1', 'message', { text: '' }), { code: 'bad-payload' })
    await clock.settle()
    await clock.settle()
    t.strictSame(peer.seen, [
      ['message', { text: 'hi', tags: ['a'] }],
      ['message', { text: 'as it is', tags: [] }],
      ['typing', undefined],
      ['message', { text: 'server', tags: [] }],
    ])
    const reply = await peer.ask(['req', 'length'], '"four"')
    t.equal(reply.data === undefined ? undefined : String(reply.data), '4')
    t.match((await peer.ask(['req', 'length'], '4')).header, ['err', Number, 'bad-payload'])
  })

t.test('typed wants the contract that is checked', async (t) => {
  const { app } = await startNode(t, { contract: withZod })
  t.equal(typed(app.everwire, withZod), app.everwire as unknown)
  t.throws(() => typed(app.everwire, withValibot), { message: /register the plugin with this contract/ })
})

/** Never called: it need only compile. */
export async function compiles(
  zod: TypedEverwire<typeof withZod>,
  valibot: TypedEverwire<typeof withValibot>,
  arktype: TypedEverwire<typeof withArk>,
): Promise<void> {
  // The tags have a default.
  await zod.publish('chat:1', 'message', { text: 'x' })
  await valibot.publish('chat:1', 'message', { text: 'x' })
  await arktype.publish('chat:1', 'message', { text: 'x' })
  await zod.publish('chat:1', 'typing')
  await zod.publish('chat:1', 'message', { text: 'x' }, { id: '1' })
  await zod.publishToUser('ann', 'note', 'x')
  // @ts-expect-error a payload of another shape
  await zod.publish('chat:1', 'message', { txt: 'x' })
  // @ts-expect-error a payload of another shape
  await valibot.publish('chat:1', 'message', { text: 1 })
  // @ts-expect-error a payload of another shape
  await arktype.publish('chat:1', 'message', { text: 1 })
  // @ts-expect-error no such event
  await zod.publish('chat:1', 'mesage', { text: 'x' })
  // @ts-expect-error no such channel
  await zod.publish('room:1', 'message', { text: 'x' })
  // @ts-expect-error it has no such channel
  await valibot.publishToUser('ann', 'note', 'x')

  zod.channel('chat:*', {
    publish: (_session, _channel, attempt) => {
      if (attempt.event === 'message') same<typeof attempt.data, { text: string; tags: string[] }>(true)
      return attempt.event !== 'typing'
    },
  })
  // @ts-expect-error no such pattern
  zod.channel('room:*', {})

  zod.method('length', (_session, input) => {
    same<typeof input, number>(true)
    return input
  })
  valibot.method('length', (_session, input) => {
    same<typeof input, number>(true)
    return input
  })
  arktype.method('length', (_session, input) => {
    same<typeof input, number>(true)
    return input
  })
  zod.method('length', async (session) => {
    const answer = await session.request('confirm', 'sure?')
    is<boolean>()(answer, true)
    // @ts-expect-error an input of another type
    await session.request('confirm', 1)
    return 1
  })
  // @ts-expect-error an answer of another type
  valibot.method('length', () => 'four')
  // @ts-expect-error no such method
  arktype.method('width', () => 4)
}
