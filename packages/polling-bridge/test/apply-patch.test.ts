import t from 'tap'
import { applyPatch } from '../src/apply-patch.js'

const freeze = <T>(value: T): T => {
  if (typeof value === 'object' && value !== null) Object.values(Object.freeze(value)).forEach(freeze)
  return value
}

t.test('makes what the patch says, shares what is the same, and leaves its input', async (t) => {
  const data = freeze({ rows: [{ id: 1, n: 1 }, { id: 2 }], 'a/b~c': 1, other: { x: 1 } })
  const after = applyPatch(data, [
    { op: 'move', from: '/rows/1', path: '/rows/0' },
    { op: 'add', path: '/rows/-', value: { id: 3 } },
    { op: 'add', path: '/rows/1', value: { id: 4 } },
    { op: 'replace', path: '/rows/2/n', value: 2 },
    { op: 'test', path: '/rows/0/id', value: 2 },
    { op: 'remove', path: '/a~1b~0c' },
    { op: 'copy', from: '/other/x', path: '/y' },
  ]) as typeof data
  t.strictSame(after, { rows: [{ id: 2 }, { id: 4 }, { id: 1, n: 2 }, { id: 3 }], other: { x: 1 }, y: 1 })
  t.equal(after.other, data.other)
  t.equal(after.rows[0], data.rows[1])
  t.equal(applyPatch(data, [{ op: 'replace', path: '', value: 7 }]), 7)
})

t.test('throws on a patch that does not fit', async (t) => {
  const data = freeze({ rows: [1, 2], deep: { n: 1 }, nothing: null })
  for (const operation of [
    { op: 'remove', path: '/missing' },
    { op: 'remove', path: '' },
    { op: 'remove', path: '/rows/2' },
    { op: 'remove', path: '/rows/-' },
    { op: 'remove', path: '/rows/length' },
    { op: 'replace', path: '/rows/01', value: 1 },
    { op: 'replace', path: '/missing', value: 1 },
    { op: 'replace', path: '/toString', value: 1 },
    { op: 'add', path: '/rows/3', value: 1 },
    { op: 'add', path: '/deep/n/x', value: 1 },
    { op: 'add', path: '/nothing/x', value: 1 },
    { op: 'add', path: '/missing/x', value: 1 },
    { op: 'add', path: 'rows/0', value: 1 },
    { op: 'test', path: '/deep/n', value: 2 },
    { op: 'test', path: '/missing', value: 2 },
    { op: 'move', from: '/missing', path: '/x' },
    { op: 'copy', from: '/rows/7', path: '/x' },
    { op: 'merge', path: '/deep', value: {} },
  ] as never[])
    t.throws(() => applyPatch(data, [operation]), JSON.stringify(operation))
})
