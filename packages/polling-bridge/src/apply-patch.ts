import type { PatchOperation } from './change.js'

/**
 * What a JSON Patch (RFC 6902) makes of a document; the document itself stays as it is, and what does not change is
 * shared with it.
 * @throws Error when the patch does not fit
 */
export function applyPatch(document: unknown, patch: readonly PatchOperation[]): unknown {
  let made = document
  for (const operation of patch) {
    const path = read(operation.path)
    if (operation.op === 'test') {
      if (JSON.stringify(at(made, path)) !== JSON.stringify(operation.value)) throw misfit(operation.path)
    } else if (operation.op === 'remove') made = changed(made, path, 'remove')
    else if (operation.op === 'move' || operation.op === 'copy') {
      const from = read(operation.from)
      const value = at(made, from)
      if (operation.op === 'move') made = changed(made, from, 'remove')
      made = changed(made, path, 'add', value)
    } else if (operation.op === 'add' || operation.op === 'replace')
      made = changed(made, path, operation.op, operation.value)
    else throw misfit((operation as PatchOperation).path)
  }
  return made
}

const misfit = (path: string) => new Error(`the patch does not fit at ${path}`)

/** RFC 6901. */
function read(pointer: string): string[] {
  if (pointer === '') return []
  if (pointer[0] !== '/') throw misfit(pointer)
  return pointer
    .slice(1)
    .split('/')
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
}

const has = (document: unknown, key: string): document is Record<string, unknown> =>
  typeof document === 'object' &&
  document !== null &&
  (!Array.isArray(document) || /^(0|[1-9]\d*)$/.test(key)) &&
  Object.hasOwn(document, key)

function at(document: unknown, path: readonly string[]): unknown {
  return path.reduce((found, key) => {
    if (!has(found, key)) throw misfit(path.join('/'))
    return found[key]
  }, document)
}

function changed(
  document: unknown,
  [key, ...rest]: readonly string[],
  op: 'add' | 'replace' | 'remove',
  value?: unknown,
): unknown {
  if (key === undefined) return op === 'remove' ? null : value
  const isThere = has(document, key)
  if (rest.length || op !== 'add') {
    if (!isThere) throw misfit(key)
    if (rest.length) value = changed(document[key], rest, op, value)
  }
  if (Array.isArray(document)) {
    const index = key === '-' ? document.length : Number(key)
    if (!isThere && index !== document.length) throw misfit(key)
    const inserts = op === 'add' && !rest.length
    const removes = op === 'remove' && !rest.length
    const made: unknown[] = [...(document as unknown[])]
    made.splice(index, inserts ? 0 : 1, ...(removes ? [] : [value]))
    return made
  }
  if (typeof document !== 'object' || document === null) throw misfit(key)
  // By entries, so that no key is taken for a prototype.
  const entries = Object.entries(document).filter(([name]) => op !== 'remove' || rest.length || name !== key)
  if (op === 'remove' && !rest.length) return Object.fromEntries(entries)
  if (!isThere) return Object.fromEntries([...entries, [key, value]])
  return Object.fromEntries(entries.map(([name, old]) => [name, name === key ? value : old]))
}
