/** Of a node that has no clients yet: its log, its listener, its connections to the bus. */
const ownDescriptors = 100

interface Report {
  userLimits?: { open_files?: { soft: number | 'unlimited' } }
}

/** How many files and sockets this process may have open; undefined where the system does not say. */
export function descriptorLimit(): number | undefined {
  // Its names of network interfaces are looked up otherwise, which may take seconds.
  const report: typeof process.report & { excludeNetwork?: boolean } = process.report
  report.excludeNetwork = true
  const soft = (report.getReport() as Report).userLimits?.open_files?.soft
  return typeof soft === 'number' ? soft : undefined
}

/** Says so when the process will run out of descriptors before it has its sessions. */
export function checkDescriptors(
  maxSessions: number,
  warn: (message: string) => void,
  limit = descriptorLimit(),
): void {
  if (limit === undefined || limit >= maxSessions + ownDescriptors) return
  warn(
    `everwire: maxSessions is ${maxSessions}, but this process may have ${limit} files and sockets open: connections ` +
      'beyond that fail before Everwire sees them. Raise the limit (ulimit -n, or LimitNOFILE of systemd), or lower ' +
      'maxSessions.',
  )
}
