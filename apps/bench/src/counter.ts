const patienceMs = 60_000

/** Counts what arrives; resolves when everything did. The first `skip` are not counted. */
export function counter(what: string, total: number, skip = 0) {
  let count = -skip
  let done = () => {}
  const all = new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${what}: ${count} of ${total} arrived`)), patienceMs)
    done = () => {
      clearTimeout(timer)
      resolve()
    }
  })
  const heard = () => {
    if (++count === total) done()
  }
  return { heard, all }
}
