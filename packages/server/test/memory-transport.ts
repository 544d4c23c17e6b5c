import {
  encodeFrame,
  isSessionKind,
  type EncodedFrame,
  type Frame,
  type ServerTransport,
  type ServerTransportContext,
} from '@everwire/core'
import { createFakeClock, createLinkPair, type FakeClock } from '@everwire/testkit'
import Fastify, { type FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { everwire, type EverwireOptions } from '../src/index.js'

/** A client of which the test speaks every word. */
interface Peer {
  /** Session frames in order, without the answers to `ask`. */
  readonly frames: Frame[]
  readonly others: Frame[]
  /** Publications as `[event, value]`, gaps as `['gap', reason]`. */
  readonly seen: unknown[][]
  readonly session: string
  readonly over: boolean
  send(header: Frame['header'], data?: string | Uint8Array): number
  /** Sends, and resolves with the answer. */
  ask(header: Frame['header'], data?: string | Uint8Array): Promise<Frame>
  /** Opens the next link of the same session. */
  again(attach?: object): Promise<Peer>
  block(): void
  unblock(): void
  cut(): void
}

export interface Node {
  readonly app: FastifyInstance
  readonly clock: FakeClock
  readonly logs: { level: number; msg: string }[]
  connect(attach?: object): Promise<Peer>
  /** Hands a link of the test's own to the node. */
  accept: ServerTransportContext['accept']
}

/**
 * A node whose only transport has no sockets, and whose time stands still.
 * @param others names of further transports, which nobody uses
 */
export async function startNode(
  t: Test,
  options: Partial<EverwireOptions> = {},
  others: readonly string[] = [],
): Promise<Node> {
  const clock = createFakeClock()
  const logs: Node['logs'] = []
  let context: ServerTransportContext | undefined
  const memory: ServerTransport<FastifyInstance> = {
    name: 'memory',
    register(_app, given) {
      context = given
    },
  }
  const app = Fastify({
    logger: { level: 'debug', stream: { write: (line: string) => logs.push(JSON.parse(line)) } },
  })
  await app.register(everwire, {
    transports: [memory, ...others.map((name) => ({ name, register() {} }))],
    authenticate: ({ token }) => ({ userId: token ?? null }),
    clock,
    ...options,
  })
  await app.ready()
  t.teardown(() => app.close())

  const connect = async (attach: object = {}, known?: { gen: number; received: number }): Promise<Peer> => {
    const { gen, received } = known ?? { gen: 1, received: 0 }
    const pair = createLinkPair({ transport: 'memory' })
    const frames: Frame[] = []
    const others: Frame[] = []
    const answers = new Map<number, (frame: Frame) => void>()
    let session = ''
    let applied = 0
    let count = received
    pair.server.listen(context!.accept(pair.server, { request: {} }))
    pair.client.listen({
      receive(frame) {
        const [kind, field] = frame.header
        if (!isSessionKind(kind)) {
          others.push(frame)
          if (kind === 'welcome') ({ session, applied } = field as { session: string; applied: number })
          return
        }
        count += kind === 'void' ? (field as number) : 1
        const answer = ['ack', 'reply', 'err'].includes(kind) ? answers.get(field as number) : undefined
        if (answer) answer(frame)
        else frames.push(frame)
      },
      drained() {},
      closed() {},
    })
    const write = (frame: EncodedFrame) => pair.client.send([frame])
    write(encodeFrame(['attach', { v: 1, gen, place: 'p', poll: 0, cursor: received, acked: 0, ...attach }]))
    await clock.settle()
    const peer: Peer = {
      frames,
      others,
      get seen() {
        return frames
          .filter(({ header: [kind, , event] }) => kind === 'gap' || (kind === 'm' && event !== null))
          .map(({ header: [kind, , event], data }) =>
            kind === 'gap'
              ? ['gap', event]
              : [event, data === undefined ? undefined : JSON.parse(text(data))],
          )
      },
      get session() {
        return session
      },
      get over() {
        return pair.client.over
      },
      send(header, data) {
        write(encodeFrame(header, data, { binary: data instanceof Uint8Array }))
        return ++applied
      },
      async ask(header, data) {
        let found: Frame | undefined
        const isFound = () => found !== undefined
        const number = peer.send(header, data)
        answers.set(number, (frame) => {
          found = frame
        })
        for (let turn = 0; !isFound() && turn < 100; turn++) await clock.settle()
        if (!found) throw new Error(`no answer to ${JSON.stringify(header)}`)
        return found
      },
      again: (more = {}) => connect({ session, ...attach, ...more }, { gen: gen + 1, received: count }),
      block: () => pair.down.block(),
      unblock: () => pair.down.unblock(),
      cut: () => pair.cut(),
    }
    return peer
  }
  return {
    app,
    clock,
    logs,
    connect: (attach) => connect(attach),
    accept: (link, handshake) => context!.accept(link, handshake),
  }
}

const text = (data: string | Uint8Array) => (typeof data === 'string' ? data : new TextDecoder().decode(data))

export const range = (from: number, to: number): number[] =>
  Array.from({ length: Math.max(0, to - from + 1) }, (_, i) => from + i)
