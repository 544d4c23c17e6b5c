import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { partOf } from '../src/steps.js'

const root = fileURLToPath(new URL('../../..', import.meta.url))

export interface StepDiff {
  /** As in docs/migration: the hunks without their line numbers. */
  text: string
  /** Lines that are added, and lines that are taken away. */
  lines: number
}

type Part = Parameters<typeof partOf>[1]

/** What one step changes of a part of the application. */
export function diffOf(from: string, to: string, part: Part): StepDiff {
  const files = [from, to].map((step) => path.relative(root, partOf(step, part)!))
  const { stdout } = spawnSync('git', ['diff', '--no-index', '--no-color', '-U1', ...files], {
    cwd: root,
    encoding: 'utf8',
  })
  const body = stdout.slice(stdout.indexOf('\n@@') + 1).trimEnd()
  const lines = body.split('\n').filter((line) => /^[-+]/.test(line)).length
  return { text: body.replace(/^@@.*$/gm, '@@').replace(/ +$/gm, ''), lines }
}

/** Every `<!-- diff FROM TO PART -->` and `<!-- file STEP PART -->` of a page with what belongs between it and its end. */
export const withDiffs = (page: string): string =>
  withFiles(page).replaceAll(
    /(<!-- diff (\S+) (\S+) (\S+) -->\n)[^]*?(<!-- \/diff -->)/g,
    (_, open: string, from: string, to: string, part: string, end: string) =>
      `${open}\n\`\`\`diff\n${diffOf(from, to, part as Part).text}\n\`\`\`\n\n${end}`,
  )

const withFiles = (page: string): string =>
  page.replaceAll(
    /(<!-- file (\S+) (\S+)\.(\w+) -->\n)[^]*?(<!-- \/file -->)/g,
    (_, open: string, step: string, name: string, type: string, end: string) => {
      const text = readFileSync(partOf(step, `${name}.${type}` as Part)!, 'utf8').trimEnd()
      return `${open}\n\`\`\`${type}\n${text}\n\`\`\`\n\n${end}`
    },
  )
