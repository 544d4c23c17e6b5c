// Counts what tap wrote. A test here is a leaf: a `t.test` with no `t.test` inside, however many assertions it has
// (a file without any `t.test` is one test). A test that only groups others counts when it fails by itself.
import { readFileSync } from 'node:fs'
import { Parser } from 'tap-parser'

/** @returns {{ passed: number, failed: string[], notRun: { name: string, reason: string }[], ms: number }} */
export function readResults(file) {
  const results = { passed: 0, failed: [], notRun: [], ms: 0 }
  const run = { name: '', ok: true, brokenItself: false, inner: [] }
  const parser = new Parser()
  collect(parser, run, results)
  parser.on('comment', (comment) => {
    const time = /^# time=([\d.]+)ms/.exec(comment)
    if (time) results.ms = Number(time[1])
  })
  parser.end(readFileSync(file, 'utf8'))
  for (const test of run.inner) count(test, results)
  if (!parser.ok && results.failed.length === 0) results.failed.push('tap: the run did not end well')
  return results
}

/** Fills `test.inner`. In TAP a test's own lines come first, then the line that says how it ended. */
function collect(parser, test, results) {
  let open
  parser.on('child', (child) => {
    open = { name: join(test, child.name), ok: true, brokenItself: false, inner: [] }
    collect(child, open, results)
  })
  parser.on('assert', (point) => {
    const name = join(test, point.name)
    const ended = open?.name === name ? open : undefined
    open = undefined
    const reason = point.skip || point.todo
    if (reason) results.notRun.push({ name, reason: reason === true ? 'no reason given' : reason })
    else if (ended) test.inner.push(Object.assign(ended, { ok: point.ok }))
    else if (!point.ok) test.brokenItself = true
  })
}

function count(test, results) {
  const before = results.failed.length
  for (const inner of test.inner) count(inner, results)
  const isLeaf = test.inner.length === 0
  if (isLeaf && test.ok) results.passed++
  if (!test.ok && (isLeaf || test.brokenItself || results.failed.length === before))
    results.failed.push(test.name)
}

const join = (test, name) => (test.name ? `${test.name} > ${name}` : name)
