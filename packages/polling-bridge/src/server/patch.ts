import { isDeepStrictEqual } from 'node:util'
import { create } from 'jsondiffpatch'
import { format } from 'jsondiffpatch/formatters/jsonpatch'
import { applyPatch } from '../apply-patch.js'
import type { PatchOperation } from '../change.js'

/** What an item of an array is known by; arrays of what has none are compared by position only as far as it is equal. */
const keyOf = (item: unknown): unknown => {
  if (typeof item !== 'object' || item === null) return item
  const { id, key, _id } = item as Record<string, unknown>
  return id ?? key ?? _id ?? item
}

const differ = create({
  objectHash: (item) => {
    const key = keyOf(item)
    return key === item ? (undefined as unknown as string) : `${typeof key}:${JSON.stringify(key)}`
  },
})

/** Comparisons above which a patch is not worth its time: arrays are compared each with each where they differ. */
const maxComparisons = 1_000_000

/** A patch (RFC 6902) that makes of one state the other; undefined where none is found at a bearable price. */
export function patchBetween(before: unknown, after: unknown): PatchOperation[] | undefined {
  if (!isContainer(before) || !isContainer(after) || Array.isArray(before) !== Array.isArray(after)) return
  if (comparisons(before, after) > maxComparisons) return
  try {
    const delta = differ.diff(before, after)
    const patch = (delta ? format(delta) : []) as PatchOperation[]
    // Whoever applies it takes what comes out for the truth.
    return isDeepStrictEqual(applyPatch(before, patch), after) ? patch : undefined
  } catch {
    return undefined
  }
}

const isContainer = (value: unknown): value is object => typeof value === 'object' && value !== null

/** About how many pairs of items will be compared. */
function comparisons(one: unknown, other: unknown): number {
  if (!isContainer(one) || !isContainer(other)) return 1
  if (!Array.isArray(one) || !Array.isArray(other)) {
    let sum = 0
    for (const [name, value] of Object.entries(one))
      if (Object.hasOwn(other, name)) sum += comparisons(value, (other as Record<string, unknown>)[name])
    return sum
  }
  const keys = [one.map(keyOf), other.map(keyOf)] as const
  let head = 0
  const shorter = Math.min(one.length, other.length)
  while (head < shorter && keys[0][head] === keys[1][head]) head++
  let tail = 0
  while (tail < shorter - head && keys[0].at(-1 - tail) === keys[1].at(-1 - tail)) tail++
  let sum = (one.length - head - tail) * (other.length - head - tail)
  // Nothing below is worth looking at any more.
  if (sum > maxComparisons) return sum
  const places = new Map(keys[1].map((key, index) => [key, index]))
  for (const [index, key] of keys[0].entries()) {
    const place = places.get(key)
    if (place !== undefined) sum += comparisons(one[index], other[place])
  }
  return sum
}
