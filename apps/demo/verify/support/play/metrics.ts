/** Counters of a node, as its metrics page shows them. */
export interface Metrics {
  /** Sum of a counter over the series that have these labels. */
  total(name: string, labels?: Readonly<Record<string, string>>): number
  /** The sums of a counter by the values of one label. */
  by(name: string, label: string): Record<string, number>
}

interface Sample {
  name: string
  labels: Record<string, string>
  value: number
}

const line = /^(\w+)(?:\{(.*)\})? (\S+)/
const pair = /(\w+)="([^"]*)"/g

/** Reads the text format of Prometheus. */
export function readMetrics(text: string): Metrics {
  const samples: Sample[] = []
  for (const row of text.split('\n')) {
    const [, name, labels = '', value] = line.exec(row) ?? []
    if (name === undefined) continue
    const named = [...labels.matchAll(pair)].map(([, label, of]) => [label, of])
    samples.push({ name, labels: Object.fromEntries(named), value: Number(value) })
  }
  return {
    total: (name, labels = {}) =>
      samples
        .filter(
          (sample) =>
            sample.name === name &&
            Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
        )
        .reduce((sum, { value }) => sum + value, 0),
    by(name, label) {
      const sums: Record<string, number> = {}
      for (const sample of samples) {
        const of = sample.labels[label]
        if (sample.name === name && of !== undefined) sums[of] = (sums[of] ?? 0) + sample.value
      }
      return sums
    },
  }
}
