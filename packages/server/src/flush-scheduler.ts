/**
 * Collects what one turn of the event loop sends and writes it in one go per session at its end: one write that
 * carries eight frames costs the kernel about as much as one that carries a single frame.
 */
export function createFlushScheduler(): (flush: () => void) => void {
  let waiting: (() => void)[] = []
  const run = () => {
    const flushes = waiting
    waiting = []
    for (const flush of flushes) flush()
  }
  return (flush) => {
    if (waiting.push(flush) === 1) setImmediate(run)
  }
}
