import { existsIn, getIn, immutableJSONPatch, parsePath } from 'immutable-json-patch'
import type { PatchOperation } from './change.js'

type Json = Parameters<typeof existsIn>[0]

const wholeNumber = /^(0|[1-9]\d*)$/

/** What an operation needs must be there: the library passes over what it does not find. */
function assertFits(document: Json, operation: PatchOperation): void {
  const misfit = (path: string) => {
    throw new TypeError(`the patch does not fit: ${operation.op} ${path}`)
  }
  const target = (path: string, isNew: boolean) => {
    // An object that the library copies would lose that key, or get another prototype.
    if ((path && path[0] !== '/') || path.includes('/__proto__')) misfit(path)
    const steps = parsePath(document, path)
    const parent = getIn(document, steps.slice(0, -1))
    const step = steps.at(-1)
    if (step === undefined ? operation.op === 'remove' : typeof parent !== 'object' || parent === null)
      misfit(path)
    if (step === undefined) return
    if (Array.isArray(parent)) {
      if (!wholeNumber.test(step) || Number(step) >= parent.length + Number(isNew)) misfit(path)
    } else if (!isNew && !Object.hasOwn(parent as object, step)) misfit(path)
  }
  if ('from' in operation) target(operation.from, false)
  target(operation.path, operation.op !== 'remove' && operation.op !== 'replace' && operation.op !== 'test')
}

/**
 * What a patch (RFC 6902) makes of JSON data. The data stays as it was, and the result shares with it what is the same
 * in both, so that whoever compares by reference sees what changed.
 * @throws when the patch does not fit the data
 */
export function applyPatch(data: unknown, patch: readonly PatchOperation[]): unknown {
  return immutableJSONPatch(data as Json, patch as Parameters<typeof immutableJSONPatch>[1], {
    before: (document, operation) => {
      assertFits(document as Json, operation as PatchOperation)
      return {}
    },
  })
}
