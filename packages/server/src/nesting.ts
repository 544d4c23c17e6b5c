/** Levels that every check has the stack for. */
const safeLevels = 500

/**
 * Whether a value is nested so deeply that walking it recursively may overflow the stack. JSON.parse makes such values
 * from what a frame may hold.
 */
export function isTooDeep(value: unknown): boolean {
  const open: { value: unknown; level: number }[] = [{ value, level: 1 }]
  // The newest first: what holds itself ends the search at once.
  for (let next = open.pop(); next; next = open.pop()) {
    const { value: at, level } = next
    if (typeof at !== 'object' || at === null || ArrayBuffer.isView(at)) continue
    if (level > safeLevels) return true
    for (const child of Object.values(at)) open.push({ value: child, level: level + 1 })
  }
  return false
}
