/** One number per line of the table; names are the same for every candidate, and end in what tells the unit. */
export type Results = Map<string, number>

const median = (values: readonly number[]) =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!

const amount = (name: string, value: number) => {
  if (/p\d+$/.test(name)) return `${value.toFixed(2)} ms`
  if (name.endsWith('CPU')) return `${value.toFixed(1)} µs`
  if (name.endsWith('memory')) return `${value.toFixed(1)} KiB`
  return `${Math.round(value).toLocaleString('en-US')}/s`
}

/** A Markdown table of medians, each beside its ratio to the base. Higher is better for rates, lower for all else. */
export function table(all: ReadonlyMap<string, readonly Results[]>, base: string): string {
  const names = [...all.keys()]
  const others = names.filter((name) => name !== base)
  const of = (candidate: string, name: string) =>
    median(all.get(candidate)!.map((results) => results.get(name)!))
  const rows = [...all.get(base)![0]!.keys()].map((name) => {
    const reference = of(base, name)
    const cells = others.flatMap((other) => [
      amount(name, of(other, name)),
      (of(other, name) / reference).toFixed(2),
    ])
    return [name, amount(name, reference), '1.00', ...cells]
  })
  const head = ['', base, 'ratio', ...others.flatMap((other) => [other, 'ratio'])]
  const widths = head.map((cell, at) => Math.max(cell.length, ...rows.map((row) => row[at]!.length)))
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, at) => (at === 0 ? cell.padEnd(widths[at]!) : cell.padStart(widths[at]!))).join(' | ')} |`
  const rule = `| ${widths.map((width, at) => (at === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`)).join(' | ')} |`
  return [line(head), rule, ...rows.map(line)].join('\n')
}
