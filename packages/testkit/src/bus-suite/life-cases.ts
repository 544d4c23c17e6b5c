import { pause, until } from '../transport-suite/until.js'
import type { Cases } from './types.js'
import { createWorld, follow, isEverwireError, listen, names, plain, rejection, storeEach } from './world.js'

/** Opening and closing. */
export const lifeCases: Cases = {
  async 'a bus has a name'(t, suite) {
    const { bus } = await createWorld(t, suite)
    t.ok(bus.name.length > 0)
  },

  async 'closing is safe before opening, and twice'(t, suite) {
    const bus = (await suite.create()).createBus()
    await bus.close()
    await bus.close()
    const world = await createWorld(t, suite)
    await Promise.all([world.bus.close(), world.bus.close()])
    await world.bus.close()
    t.ok(true)
  },

  async 'a closed bus refuses all, with an error that can be told to a client'(t, suite) {
    const { bus } = await createWorld(t, suite)
    await storeEach(bus, 'a:1', names(1))
    await bus.close()
    const nobody = { start() {}, publication() {}, gap() {} }
    for (const [name, attempt] of Object.entries({
      store: () => bus.store('a:1', plain, { event: 'e' }),
      broadcast: () => bus.broadcast('a:1', { event: 'e' }),
      follow: () => bus.follow('a:1', plain, nobody),
      listen: () => bus.listen('a:1', nobody),
      read: () => bus.read('a:1', plain, { after: 0, limit: 1 }),
    }))
      t.ok(isEverwireError(await rejection(attempt())), name)
  },

  async 'what is under way when a bus closes has an end'(t, suite) {
    const { bus } = await createWorld(t, suite)
    const [followed, listened] = [await follow(bus, 'a:1'), await listen(bus, 'a:1')]
    const attempts = names(50).flatMap((event) => [
      bus.store('a:1', plain, { event }),
      bus.broadcast('a:1', { event }),
      bus.read('a:1', plain, { after: 0, limit: 10 }),
    ])
    const outcomes: unknown[] = []
    for (const attempt of attempts) void rejection(attempt).then((outcome) => outcomes.push(outcome))
    await bus.close()
    await until(
      () => outcomes.length === attempts.length,
      () => `${attempts.length - outcomes.length} of ${attempts.length} have no end`,
    )
    const errors = outcomes.filter((error) => error !== undefined)
    t.strictSame(
      errors.filter((error) => !isEverwireError(error)),
      [],
      'done, or an error that can be told to a client',
    )
    const heard = [followed.heard.length, listened.publications.length]
    await pause(20)
    t.strictSame([followed.heard.length, listened.publications.length], heard, 'it says no more')
    followed.undo()
    listened.undo()
  },
}
