import type { Bus } from '@everwire/core'

/** The part of tap's `t` that is used. */
export interface BusSuiteTest {
  test(
    name: string,
    options: { skip?: string | false },
    run: (t: BusSuiteTest) => Promise<void>,
  ): PromiseLike<unknown>
  equal(found: unknown, wanted: unknown, ...message: [] | [string]): boolean
  strictSame(found: unknown, wanted: unknown, ...message: [] | [string]): boolean
  ok(value: unknown, ...message: [] | [string]): boolean
  teardown(run: () => unknown): unknown
}

/** Where what is published goes, empty at first and used by one case only. */
export interface BusBackend {
  /** A bus on this backend, that is not open yet; each is another node. */
  createBus(): Bus
  /** Lets time pass at once, where time is fake. Without it cases that need time wait for it. */
  advance?(ms: number): Promise<void>
}

/** What a bus package hands in. */
export interface BusSuiteOptions {
  create(): BusBackend | Promise<BusBackend>
  /** Whether several buses may share a backend. @default false */
  nodes?: boolean
  /** Cases that do not hold, by name, with the reason. */
  skip?: Readonly<Record<string, string>>
}

export type Case = (t: BusSuiteTest, suite: BusSuiteOptions) => Promise<void>

/** Cases by name; the name says what must hold. */
export type Cases = Readonly<Record<string, Case>>
