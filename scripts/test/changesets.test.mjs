import { readFileSync, readdirSync } from 'node:fs'
import t from 'tap'
import { parse } from 'yaml'
import { at, findPackages } from '../lib.mjs'

const published = findPackages()
  .filter(({ isPrivate }) => !isPrivate)
  .map(({ name }) => name)

const sizes = ['major', 'minor', 'patch']

/** What is wrong with a changeset. `changeset status` would say the same, but asks git about the main branch first. */
function problemsOf(text) {
  const [, head, body] = /^---\n([\s\S]*?)---\n([\s\S]*)$/.exec(text) ?? []
  if (head === undefined) return ['it must start with names and sizes between lines of ---']
  const releases = Object.entries(parse(head) ?? {})
  const problems = releases.flatMap(([name, size]) => [
    ...(published.includes(name) ? [] : [`${name} is not a public package`]),
    ...(sizes.includes(size) ? [] : [`${name}: ${size} is not one of ${sizes.join(', ')}`]),
  ])
  if (releases.length === 0) problems.push('it names no package')
  if (body.trim() === '') problems.push('it says nothing to the person who upgrades')
  return problems
}

t.test('every changeset names public packages, each with a size, and says something', (t) => {
  const files = readdirSync(at('.changeset')).filter((file) => file.endsWith('.md') && file !== 'README.md')
  for (const file of files) t.same(problemsOf(readFileSync(at('.changeset', file), 'utf8')), [], file)

  const refused = [
    ['text alone\n', /between lines/],
    ["---\n'@everwire/nope': patch\n---\n\nwords\n", /nope is not a public package/],
    ["---\n'@everwire/demo': patch\n---\n\nwords\n", /demo is not a public package/],
    ["---\n'@everwire/core': small\n---\n\nwords\n", /small is not one of/],
    ["---\n'@everwire/core': patch\n---\n\n", /says nothing/],
    ['---\n---\n\nwords\n', /names no package/],
  ]
  for (const [text, problem] of refused) {
    t.equal(problemsOf(text).length, 1, text)
    t.match(problemsOf(text)[0], problem)
  }
  t.end()
})

t.test('all public packages share one version', (t) => {
  const { fixed } = JSON.parse(readFileSync(at('.changeset/config.json'), 'utf8'))
  const isIn = (name) => (pattern) =>
    pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : pattern === name
  t.equal(fixed.length, 1)
  for (const name of published) t.ok(fixed[0].some(isIn(name)), name)

  const versions = published.map(
    (name) =>
      JSON.parse(readFileSync(at(findPackages().find((one) => one.name === name).folder, 'package.json')))
        .version,
  )
  t.equal(new Set(versions).size, 1, versions.join(' '))
  t.end()
})
